package dashboard_test

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/capi-registry-cache/capi-registry-cache/test/dashboard"
)

const small = `{"panels": [
	{"id": 1, "type": "row", "title": "First"},
	{"id": 2, "type": "stat", "title": "Served", "fieldConfig": {"defaults": {"unit": "bytes"}}, "targets": [
		{"refId": "A", "expr": "sum(increase(a{cluster=~\"$cluster\"}[$__range]))", "instant": true}]},
	{"id": 3, "type": "timeseries", "title": "Bytes", "gridPos": {"x": 12, "y": 1, "w": 12, "h": 8},
		"fieldConfig": {"defaults": {"unit": "binBps", "custom": {"lineInterpolation": "stepAfter", "stacking": {"mode": "normal"}}}}, "targets": [
		{"refId": "A", "expr": "rate(a[$__rate_interval])", "legendFormat": "{{upstream}}"}, {"refId": "B", "expr": "b"}]}]}`

func read(g *WithT) []dashboard.Panel {
	panels, err := dashboard.Read([]byte(small))
	g.Expect(err).NotTo(HaveOccurred())
	return panels
}

// prometheus answers with what there is for an expression, and keeps what it was asked.
type prometheus struct {
	answers map[string]model.Matrix
	asked   map[string]promv1.Range
	err     error
}

func (p *prometheus) QueryRange(_ context.Context, expr string, over promv1.Range) (model.Matrix, error) {
	p.asked[expr] = over
	return p.answers[expr], p.err
}

func values(all ...float64) model.Matrix {
	stream := &model.SampleStream{Metric: model.Metric{"upstream": "docker.io"}}
	for i, value := range all {
		stream.Values = append(stream.Values, model.SamplePair{Timestamp: model.Time(i * 5000), Value: model.SampleValue(value)})
	}
	return model.Matrix{stream}
}

var over = promv1.Range{Start: time.Unix(0, 0).UTC(), End: time.Unix(600, 0).UTC(), Step: 5 * time.Second}

func TestPanelsAreRead(t *testing.T) {
	g := NewWithT(t)
	panels := read(g)
	g.Expect(panels).To(HaveLen(3))
	bytes := panels[2]
	g.Expect(bytes.Unit()).To(Equal("binBps"))
	g.Expect(bytes.Stacked()).To(BeTrue())
	g.Expect(bytes.Steps()).To(BeTrue())
	g.Expect(bytes.Grid).To(Equal(dashboard.Grid{X: 12, Y: 1, Width: 12, Height: 8}))
	g.Expect(panels[1].Queries[0].Instant).To(BeTrue())
}

func TestPanelsOfOtherKindsAreRefused(t *testing.T) {
	_, err := dashboard.Read([]byte(`{"panels": [{"type": "heatmap", "title": "Heat"}]}`))
	NewWithT(t).Expect(err).To(MatchError(`panel "Heat" is of type "heatmap"; accepted are row, stat and timeseries`))
}

func TestVariablesGetValues(t *testing.T) {
	g := NewWithT(t)
	v := dashboard.All("6h", "1m")
	g.Expect(v.Fill(`a{cluster=~"$cluster",upstream=~"$upstream|"}[$__range] b[$__rate_interval]`)).To(Equal(`a{cluster=~".*",upstream=~".+|"}[6h] b[1m]`))
	_, err := v.Fill("a[$__interval]")
	g.Expect(err).To(MatchError(ContainSubstring("has no value")))
}

func TestAllQueriesAreAsked(t *testing.T) {
	g := NewWithT(t)
	p := &prometheus{asked: map[string]promv1.Range{}, answers: map[string]model.Matrix{
		`sum(increase(a{cluster=~".*"}[10m]))`: values(4), "rate(a[1m])": values(math.NaN(), 2),
	}}
	panels := read(g)
	c, err := dashboard.Ask(t.Context(), p, panels, dashboard.All("10m", "1m"), over)
	g.Expect(err).NotTo(HaveOccurred())
	last := over
	last.Start = last.End
	g.Expect(p.asked).To(Equal(map[string]promv1.Range{`sum(increase(a{cluster=~".*"}[10m]))`: last, "rate(a[1m])": over, "b": over}))
	g.Expect(c.Of(3, "A").Series).To(HaveLen(1))
	g.Expect(c.Of(3, "C")).To(BeNil())
	g.Expect(c.Empty(panels)).To(ConsistOf("Bytes (B): b"))
}

func TestOnlyNumbersAreAnAnswer(t *testing.T) {
	g := NewWithT(t)
	p := &prometheus{asked: map[string]promv1.Range{}, answers: map[string]model.Matrix{"rate(a[1m])": values(math.NaN())}}
	panels := read(g)
	c, err := dashboard.Ask(t.Context(), p, panels, dashboard.All("10m", "1m"), over)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(c.Empty(panels)).To(HaveLen(3))
}

func TestWhatPrometheusRefusesIsAnError(t *testing.T) {
	g := NewWithT(t)
	p := &prometheus{asked: map[string]promv1.Range{}, err: errors.New("parse error")}
	_, err := dashboard.Ask(t.Context(), p, read(g), dashboard.All("10m", "1m"), over)
	g.Expect(err).To(MatchError(And(ContainSubstring(`panel "Served": parse error`), ContainSubstring(`panel "Bytes": parse error`))))
}

func TestCapturesBeginWithTheirFirstValue(t *testing.T) {
	g := NewWithT(t)
	late, last := values(1, 2), values(3)
	late[0].Values[0].Timestamp, late[0].Values[1].Timestamp, last[0].Values[0].Timestamp = 300_000, 305_000, 600_000
	c := &dashboard.Capture{From: over.Start, To: over.End, Answers: []dashboard.Answer{{Panel: 1, Series: last}, {Panel: 2, Series: late}, {Panel: 3}}}
	c.Trim()
	g.Expect(c.From).To(BeTemporally("==", time.Unix(300, 0)))
	g.Expect(c.To).To(Equal(over.End))
}

func TestAnswersAreKept(t *testing.T) {
	g := NewWithT(t)
	file := filepath.Join(t.TempDir(), "folder", "answers.json")
	c := &dashboard.Capture{From: over.Start, To: over.End, Step: over.Step, Answers: []dashboard.Answer{{Panel: 3, Ref: "A", Expr: "a", Series: values(1, 2.5)}}}
	g.Expect(c.Write(file)).To(Succeed())
	g.Expect(dashboard.Load(file)).To(Equal(c))
	g.Expect(os.WriteFile(file, []byte("{"), 0o600)).To(Succeed())
	_, err := dashboard.Load(file)
	g.Expect(err).To(MatchError(ContainSubstring("answers.json")))
}
