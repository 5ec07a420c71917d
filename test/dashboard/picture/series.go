package picture

import (
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"gonum.org/v1/plot/plotter"

	"github.com/capi-registry-cache/capi-registry-cache/test/dashboard"
)

// series is what a line is drawn from: its name and its runs, which have no gaps.
type series struct {
	name string
	runs []plotter.XYs
}

var label = regexp.MustCompile(`\{\{ *(\w+) *\}\}`)

// legend is the name of a series: the format of the query, with labels in place of {{label}}.
func legend(format string, metric model.Metric) string {
	name := label.ReplaceAllStringFunc(format, func(found string) string {
		return string(metric[model.LabelName(label.FindStringSubmatch(found)[1])])
	})
	return strings.Join(strings.Fields(name), " ")
}

// collect makes the series of a panel, in the order of its queries. Points that are further apart than gap belong to two runs.
func collect(p dashboard.Panel, c *dashboard.Capture, gap time.Duration) []series {
	var all []series
	for _, q := range p.Queries {
		answer := c.Of(p.ID, q.Ref)
		if answer == nil {
			continue
		}
		matrix := slices.Clone(answer.Series)
		slices.SortFunc(matrix, func(a, b *model.SampleStream) int { return strings.Compare(a.Metric.String(), b.Metric.String()) })
		for _, stream := range matrix {
			all = append(all, series{name: legend(q.Legend, stream.Metric), runs: runs(stream.Values, gap)})
		}
	}
	return all
}

func runs(values []model.SamplePair, gap time.Duration) []plotter.XYs {
	var all []plotter.XYs
	var last model.Time
	for _, v := range values {
		if math.IsNaN(float64(v.Value)) {
			continue
		}
		if len(all) == 0 || v.Timestamp.Sub(last) > gap {
			all = append(all, nil)
		}
		run := &all[len(all)-1]
		*run = append(*run, plotter.XY{X: float64(v.Timestamp) / 1000, Y: float64(v.Value)})
		last = v.Timestamp
	}
	return all
}

// stack adds to each series those before it, moment by moment.
func stack(all []series) []series {
	below := map[float64]float64{}
	stacked := make([]series, 0, len(all))
	for _, s := range all {
		higher := series{name: s.name}
		for _, run := range s.runs {
			sum := make(plotter.XYs, len(run))
			for i, point := range run {
				below[point.X] += point.Y
				sum[i] = plotter.XY{X: point.X, Y: below[point.X]}
			}
			higher.runs = append(higher.runs, sum)
		}
		stacked = append(stacked, higher)
	}
	return stacked
}

// last is the last value of the first series, for panels that show a number.
func last(all []series) (value float64, found bool) {
	if len(all) == 0 || len(all[0].runs) == 0 {
		return 0, false
	}
	run := all[0].runs[len(all[0].runs)-1]
	return run[len(run)-1].Y, true
}
