package docs

import (
	"regexp"
	"strings"
)

// Command is what a reader types into a shell, over several lines if it goes on there.
type Command struct {
	Line int
	Text string
}

var (
	hereDocument = regexp.MustCompile(`<<-? *'?([A-Za-z]+)'?`)
	comment      = regexp.MustCompile(`(^|\s+)#\s.*$`)
)

// Commands are those of all sh blocks of a page, without comments.
func (p Page) Commands() []Command {
	var commands []Command
	for _, b := range p.Blocks {
		if b.Language == "sh" {
			commands = append(commands, b.commands()...)
		}
	}
	return commands
}

// commands joins lines that end in a backslash, a pipe or &&, and here documents.
func (b Block) commands() []Command {
	var commands []Command
	current, end := Command{}, ""
	for i, l := range strings.Split(b.Text, "\n") {
		if end == "" {
			l = comment.ReplaceAllString(l, "")
		}
		if current.Text == "" {
			current = Command{Line: b.Line + 1 + i}
		}
		current.Text += l + "\n"
		switch match := hereDocument.FindStringSubmatch(l); {
		case end != "" && l != end:
			continue
		case end != "":
			end = ""
		case match != nil:
			end = match[1]
			continue
		case strings.HasSuffix(l, `\`), strings.HasSuffix(l, "|"), strings.HasSuffix(l, "&&"):
			continue
		}
		if current.Text = strings.TrimSpace(current.Text); current.Text != "" {
			commands = append(commands, current)
		}
		current = Command{}
	}
	return commands
}

// Program is the word that the command begins with, without sudo and variables.
func (c Command) Program() string {
	for word := range strings.FieldsSeq(c.Text) {
		if word != "sudo" && !regexp.MustCompile(`^[A-Z_]+=`).MatchString(word) {
			return word
		}
	}
	return ""
}
