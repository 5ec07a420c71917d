package picture

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"math"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/common/model"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"

	"github.com/capi-registry-cache/capi-registry-cache/test/dashboard"
)

func TestValuesAreShownInTheirUnits(t *testing.T) {
	for want, c := range map[string]struct {
		value float64
		unit  string
	}{
		"0 %":          {0, "percentunit"},
		"99.5 %":       {0.99512, "percentunit"},
		"100 %":        {1, "percentunit"},
		"0 B":          {0, "bytes"},
		"512 B":        {512, "bytes"},
		"1 KiB":        {1024, "bytes"},
		"1.46 GiB":     {1.5 * 1024 * 1024 * 1000, "bytes"},
		"64 MiB/s":     {64 << 20, "binBps"},
		"-1 KiB":       {-1024, "bytes"},
		"0 s":          {0, "s"},
		"250 µs":       {0.00025, "s"},
		"7.5 ms":       {0.0075, "s"},
		"1.5 h":        {5400, "s"},
		"89 days":      {89 * 86400, "s"},
		"9.99 years":   {9.99 * 365 * 86400, "s"},
		"0.25 req/s":   {0.25, "reqps"},
		"1.2 K":        {1200, "short"},
		"3":            {3, "short"},
		"0.0333 req/s": {1. / 30, "reqps"},
	} {
		t.Run(want, func(t *testing.T) {
			NewWithT(t).Expect(format(c.value, c.unit)).To(Equal(want))
		})
	}
}

func labels(ticks []plot.Tick) []string {
	var all []string
	for _, tick := range ticks {
		all = append(all, tick.Label)
	}
	return all
}

func TestAxesHaveRoundMarks(t *testing.T) {
	g := NewWithT(t)
	g.Expect(labels(valueTicks{unit: "percentunit"}.Ticks(0, 1))).To(Equal([]string{"0 %", "20 %", "40 %", "60 %", "80 %", "100 %"}))
	g.Expect(labels(valueTicks{unit: "bytes"}.Ticks(0, 5<<20))).To(Equal([]string{"0 B", "1 MiB", "2 MiB", "3 MiB", "4 MiB", "5 MiB"}))
	noon := float64(time.Date(2026, 1, 1, 12, 3, 0, 0, time.UTC).Unix())
	g.Expect(labels(timeTicks{}.Ticks(noon, noon+600))).To(Equal([]string{"12:04", "12:06", "12:08", "12:10", "12:12"}))
	g.Expect(labels(timeTicks{}.Ticks(noon, noon+6*3600))).To(Equal([]string{"13:00", "14:00", "15:00", "16:00", "17:00", "18:00"}))
}

func TestLegendsNameSeries(t *testing.T) {
	g := NewWithT(t)
	g.Expect(legend("{{cluster}} {{upstream}}", model.Metric{"upstream": "docker.io"})).To(Equal("docker.io"))
	g.Expect(legend("does not answer: {{ upstream }}", model.Metric{"upstream": "quay.io"})).To(Equal("does not answer: quay.io"))
}

func TestLegendsTakeFewLines(t *testing.T) {
	g := NewWithT(t)
	var many []series
	for range 200 {
		many = append(many, series{name: "registry-docker-io-0"})
	}
	lines := flow(names(many), 400)
	g.Expect(lines).To(HaveLen(legendLines))
	last := lines[legendLines-1]
	g.Expect(last[len(last)-1].name).To(MatchRegexp(`^and \d+ more$`))
	g.Expect(flow(names(many[:2]), 400)).To(HaveLen(1))
}

func TestSeriesEndWhereValuesAreMissing(t *testing.T) {
	g := NewWithT(t)
	at := func(seconds int, value float64) model.SamplePair {
		return model.SamplePair{Timestamp: model.Time(seconds * 1000), Value: model.SampleValue(value)}
	}
	g.Expect(runs([]model.SamplePair{at(0, 1), at(5, 2), at(10, math.NaN()), at(15, 3), at(60, 4)}, 10*time.Second)).To(Equal([]plotter.XYs{
		{{X: 0, Y: 1}, {X: 5, Y: 2}, {X: 15, Y: 3}}, {{X: 60, Y: 4}},
	}))
}

func TestStackedSeriesAreAdded(t *testing.T) {
	g := NewWithT(t)
	stacked := stack([]series{
		{name: "a", runs: []plotter.XYs{{{X: 0, Y: 1}, {X: 5, Y: 2}}}},
		{name: "b", runs: []plotter.XYs{{{X: 5, Y: 3}, {X: 10, Y: 4}}}},
	})
	g.Expect(stacked[1].runs[0]).To(Equal(plotter.XYs{{X: 5, Y: 5}, {X: 10, Y: 4}}))
}

// TestPanelsAreDrawnWhereGrafanaHasThem draws two graphs, of which one has no answer.
func TestPanelsAreDrawnWhereGrafanaHasThem(t *testing.T) {
	g := NewWithT(t)
	panels := []dashboard.Panel{
		{ID: 1, Type: dashboard.Row, Title: "Traffic", Grid: dashboard.Grid{Width: 24, Height: 1}},
		{ID: 2, Type: dashboard.Graph, Title: "Left", Grid: dashboard.Grid{Y: 1, Width: 12, Height: 8}, Queries: []dashboard.Query{{Ref: "A"}}},
		{ID: 3, Type: dashboard.Graph, Title: "Right", Grid: dashboard.Grid{X: 12, Y: 1, Width: 12, Height: 8}, Queries: []dashboard.Query{{Ref: "A"}}},
		{ID: 4, Type: dashboard.Number, Title: "Below", Grid: dashboard.Grid{Y: 9, Width: 4, Height: 4}, Queries: []dashboard.Query{{Ref: "A"}}},
	}
	stream := &model.SampleStream{Metric: model.Metric{}}
	for i := range 100 {
		stream.Values = append(stream.Values, model.SamplePair{Timestamp: model.Time(i * 5000), Value: model.SampleValue(i)})
	}
	c := &dashboard.Capture{From: time.Unix(0, 0), To: time.Unix(500, 0), Step: 5 * time.Second, Answers: []dashboard.Answer{
		{Panel: 2, Ref: "A", Series: model.Matrix{stream}}, {Panel: 4, Ref: "A", Series: model.Matrix{stream}},
	}}
	var drawn bytes.Buffer
	g.Expect(PNG(&drawn, "Registry Caches", panels, c)).To(Succeed())
	picture, err := png.Decode(&drawn)
	g.Expect(err).NotTo(HaveOccurred())
	size := picture.Bounds()
	g.Expect(size.Dx()).To(BeNumerically("~", dpi/72.*float64(columns*columnWidth+2*margin), 2))
	left, right := size, size
	left.Max.X, right.Min.X = size.Dx()/2, size.Dx()/2
	g.Expect(pixels(picture, left, palette[0])).To(BeNumerically(">", 200), "a line and its mark in the legend")
	g.Expect(pixels(picture, right, palette[0])).To(BeZero(), "no data")
}

// pixels counts those of a colour.
func pixels(picture image.Image, within image.Rectangle, wanted color.RGBA) int {
	found := 0
	for x := within.Min.X; x < within.Max.X; x++ {
		for y := within.Min.Y; y < within.Max.Y; y++ {
			if color.RGBAModel.Convert(picture.At(x, y)) == wanted {
				found++
			}
		}
	}
	return found
}
