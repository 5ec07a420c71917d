package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// Prometheus answers queries over a time.
type Prometheus interface {
	QueryRange(ctx context.Context, expr string, r promv1.Range) (model.Matrix, error)
}

// Capture is what a Prometheus answered. Step is between two values of a series.
type Capture struct {
	From    time.Time     `json:"from"`
	To      time.Time     `json:"to"`
	Step    time.Duration `json:"step"`
	Answers []Answer      `json:"answers"`
}

// Answer is that to one query of a panel. Expr is what was asked, with values.
type Answer struct {
	Panel  int          `json:"panel"`
	Ref    string       `json:"ref"`
	Expr   string       `json:"expr"`
	Series model.Matrix `json:"series"`
}

// Ask asks all queries of some panels, those of numbers at the end of the time. A query that Prometheus refuses is an error, one without an
// answer is not.
func Ask(ctx context.Context, p Prometheus, panels []Panel, v Variables, over promv1.Range) (*Capture, error) {
	c := &Capture{From: over.Start, To: over.End, Step: over.Step}
	var failed []error
	for _, panel := range panels {
		for _, q := range panel.Queries {
			answer, err := ask(ctx, p, q, v, over)
			if err != nil {
				failed = append(failed, fmt.Errorf("panel %q: %w", panel.Title, err))
				continue
			}
			answer.Panel = panel.ID
			c.Answers = append(c.Answers, answer)
		}
	}
	return c, errors.Join(failed...)
}

func ask(ctx context.Context, p Prometheus, q Query, v Variables, over promv1.Range) (Answer, error) {
	expr, err := v.Fill(q.Expr)
	if err != nil {
		return Answer{}, err
	}
	if q.Instant {
		over.Start = over.End
	}
	series, err := p.QueryRange(ctx, expr, over)
	return Answer{Ref: q.Ref, Expr: expr, Series: series}, err
}

// Of is the answer to a query, nil if it was not asked.
func (c *Capture) Of(panel int, ref string) *Answer {
	for i := range c.Answers {
		if a := &c.Answers[i]; a.Panel == panel && a.Ref == ref {
			return a
		}
	}
	return nil
}

// Empty tells of each query that has no value at any time: its panel and what was asked.
func (c *Capture) Empty(panels []Panel) []string {
	var empty []string
	for _, panel := range panels {
		for _, q := range panel.Queries {
			if !c.Of(panel.ID, q.Ref).hasValues() {
				empty = append(empty, fmt.Sprintf("%s (%s): %s", panel.Title, q.Ref, q.Expr))
			}
		}
	}
	return empty
}

// hasValues: some series has a number at some time. A quantile of nothing is none.
func (a *Answer) hasValues() bool {
	return a != nil && slices.ContainsFunc(a.Series, func(s *model.SampleStream) bool {
		return slices.ContainsFunc(s.Values, func(v model.SamplePair) bool { return !math.IsNaN(float64(v.Value)) })
	})
}

// Trim lets a capture begin with its first value.
func (c *Capture) Trim() {
	first := c.To
	for _, a := range c.Answers {
		for _, series := range a.Series {
			if len(series.Values) > 0 && series.Values[0].Timestamp.Time().Before(first) {
				first = series.Values[0].Timestamp.Time()
			}
		}
	}
	c.From = first
}

// Write keeps a capture in a file, whose folder is made.
func (c *Capture) Write(file string) error {
	content, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encoding the answers: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { //nolint:gosec // metrics are no secret
		return fmt.Errorf("keeping the answers: %w", err)
	}
	if err := os.WriteFile(file, content, 0o644); err != nil { //nolint:gosec // metrics are no secret
		return fmt.Errorf("keeping the answers: %w", err)
	}
	return nil
}

// Load reads what Write wrote.
func Load(file string) (*Capture, error) {
	content, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return nil, fmt.Errorf("reading the answers: %w", err)
	}
	c := &Capture{}
	if err := json.Unmarshal(content, c); err != nil {
		return nil, fmt.Errorf("reading the answers in %s: %w", file, err)
	}
	return c, nil
}
