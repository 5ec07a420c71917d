package stack

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// JournalEntry is one message of a unit.
type JournalEntry struct {
	Time    time.Time
	Message string
}

// Journal returns the messages of a unit since a point in time, oldest first, those of earlier boots too.
func (n Node) Journal(ctx context.Context, unit string, since time.Time) ([]JournalEntry, error) {
	text, err := n.Exec(ctx, "journalctl", "--unit", unit, "--output", "json", "--no-pager", "--quiet",
		"--since", "@"+strconv.FormatInt(since.Unix(), 10))
	if err != nil {
		return nil, err
	}
	return parseJournal(text)
}

// parseJournal reads a JSON object a line. A message that is not text, which journalctl gives as an array of bytes,
// is left out.
func parseJournal(text string) ([]JournalEntry, error) {
	var entries []JournalEntry
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		entry := struct {
			At      string `json:"__REALTIME_TIMESTAMP"` // microseconds
			Message any    `json:"MESSAGE"`
		}{}
		if err := json.Unmarshal(lines.Bytes(), &entry); err != nil {
			return nil, fmt.Errorf("journal line %q: %w", shorten(lines.Text(), 200), err)
		}
		at, err := strconv.ParseInt(entry.At, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("time of journal line %q: %w", shorten(lines.Text(), 200), err)
		}
		if message, ok := entry.Message.(string); ok {
			entries = append(entries, JournalEntry{Time: time.UnixMicro(at), Message: message})
		}
	}
	return entries, lines.Err()
}
