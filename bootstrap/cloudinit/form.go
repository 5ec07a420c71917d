package cloudinit

import (
	"bytes"
	"regexp"
	"strings"
)

// Form is a form of user data.
type Form string

// The forms that Inject takes, and None for everything else.
const (
	// CloudConfig is YAML under the line #cloud-config, with or without the Jinja line before it.
	CloudConfig Form = "cloud-config"
	// Script is anything that starts with #!, also as a Jinja template.
	Script Form = "script"
	// Directive is what cloud-init knows by another first word: #include, #cloud-boothook, #part-handler,
	// #cloud-config-archive, #cloud-config-jsonp, and a Jinja template that says only when rendered what it is.
	Directive Form = "directive"
	// MIME is a message with headers, of one part or of many.
	MIME Form = "mime"
	// Gzip is one of the other forms, compressed.
	Gzip Form = "gzip"
	// None is not user data for cloud-init.
	None Form = ""
)

// headSize is how far cloud-init looks for a MIME header, and more than it needs for any other sign.
const headSize = 4096

const jinjaLine = "## template: jinja"

// headerLine is how Python's parser knows that a message starts with headers.
var headerLine = regexp.MustCompile(`^[!-9;-~]+:`)

// starts are the first words in the order in which cloud-init tries them, the longest first:
// https://docs.cloud-init.io/en/latest/explanation/format.html.
var starts = []struct {
	word string
	form Form
}{
	{"#cloud-config-archive", Directive},
	{"#cloud-config-jsonp", Directive},
	{jinjaLine, Directive},
	{"#cloud-boothook", Directive},
	{"#cloud-config", CloudConfig},
	{"#part-handler", Directive},
	{"#include", Directive},
	{"#!", Script},
}

// FormOf tells the form of user data from its content, in the order in which cloud-init does: gzip, MIME, the first word.
func FormOf(data []byte) Form {
	head := data[:min(len(data), headSize)]
	if zipped(head) {
		head = peek(data)
		if zipped(head) || formOfHead(head) == None {
			return None
		}
		return Gzip
	}
	return formOfHead(head)
}

func formOfHead(head []byte) Form {
	if headerLine.Match(head) && bytes.Contains(bytes.ToLower(head), []byte("mime-version:")) {
		return MIME
	}
	text := strings.TrimLeft(strings.ToLower(string(head)), " \t\r\n\v\f")
	first, rest, _ := strings.Cut(text, "\n")
	if !strings.HasPrefix(first, jinjaLine) {
		return formOfStart(text)
	}
	if strings.TrimSpace(first) != jinjaLine {
		return None
	}
	rest = strings.TrimLeft(rest, " \t\r\n\v\f")
	if form := formOfStart(rest); form != None {
		return form
	}
	if strings.Contains(rest, "\n#cloud-config\n") {
		return CloudConfig
	}
	return Directive
}

func formOfStart(text string) Form {
	for _, s := range starts {
		if strings.HasPrefix(text, s.word) {
			return s.form
		}
	}
	return None
}
