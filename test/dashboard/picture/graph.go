package picture

import (
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/capi-registry-cache/capi-registry-cache/test/dashboard"
)

// palette has the colours of series, in order.
var palette = []color.RGBA{
	{0x2a, 0x78, 0xd6, 0xff}, {0xeb, 0x68, 0x34, 0xff}, {0x1b, 0xaf, 0x7a, 0xff}, {0xed, 0xa1, 0x00, 0xff},
	{0x4a, 0x3a, 0xa7, 0xff}, {0xe8, 0x7b, 0xa4, 0xff}, {0x00, 0x83, 0x00, 0xff}, {0xe3, 0x49, 0x48, 0xff},
}

func colour(i int) color.RGBA { return palette[i%len(palette)] }

// plotted is the graph of a panel over the time of a capture.
func plotted(p dashboard.Panel, all []series, c *dashboard.Capture) (*plot.Plot, error) {
	graph := plot.New()
	graph.X.Min, graph.X.Max = float64(c.From.Unix()), float64(c.To.Unix())
	graph.X.Tick.Marker, graph.Y.Tick.Marker = timeTicks{}, valueTicks{unit: p.Unit()}
	if p.Stacked() {
		all = stack(all)
	}
	style(graph)
	// What is below is drawn last, over the areas of what is stacked on it.
	for i, s := range slices.Backward(all) {
		for _, run := range s.runs {
			line, err := lineOf(p, run, i)
			if err != nil {
				return nil, err
			}
			graph.Add(line)
		}
	}
	graph.X.Min, graph.X.Max = float64(c.From.Unix()), float64(c.To.Unix())
	graph.Y.Min, graph.Y.Max = 0, top(p, all)
	return graph, nil
}

func lineOf(p dashboard.Panel, run plotter.XYs, i int) (*plotter.Line, error) {
	line, err := plotter.NewLine(run)
	if err != nil {
		return nil, err
	}
	line.Color, line.Width = colour(i), vg.Points(1.5)
	if p.Steps() {
		line.StepStyle = plotter.PostStep
	}
	if p.Stacked() {
		line.FillColor = pale(colour(i))
	}
	return line, nil
}

// pale is a colour as it is on white if it lets most of it through.
func pale(c color.RGBA) color.RGBA {
	mixed := func(part uint8) uint8 { return uint8((uint16(part)*2 + 0xff*3) / 5) }
	return color.RGBA{mixed(c.R), mixed(c.G), mixed(c.B), 0xff}
}

// top is where the axis of values ends: at the maximum of the panel, or a tick above the largest value.
func top(p dashboard.Panel, all []series) float64 {
	if limit := p.Fields.Defaults.Max; limit != nil {
		return *limit
	}
	highest := 0.
	for _, s := range all {
		for _, run := range s.runs {
			for _, point := range run {
				highest = math.Max(highest, point.Y)
			}
		}
	}
	if highest == 0 {
		return 1
	}
	step := tickStep(highest, 5, p.Unit())
	return step * math.Ceil(highest*1.02/step)
}

func style(graph *plot.Plot) {
	graph.BackgroundColor = color.White
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = line, color.Transparent
	graph.Add(grid)
	for _, axis := range []*plot.Axis{&graph.X, &graph.Y} {
		axis.Width, axis.Tick.Length = 0, 0
		axis.Tick.Label.Font.Size, axis.Tick.Label.Font.Variant = vg.Points(8), "Sans"
		axis.Tick.Label.Color = grey
		axis.Padding = vg.Points(2)
	}
}
