package picture

import (
	"fmt"
	"image/color"
	"io"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"

	"github.com/capi-registry-cache/capi-registry-cache/test/dashboard"
)

const (
	columns = 24
	dpi     = 96

	// What a column and a row of Grafana's grid measure here, and what is between panels.
	columnWidth = vg.Length(42)
	rowHeight   = vg.Length(20)
	margin      = vg.Length(3)
	header      = vg.Length(34)
)

var (
	ink   = color.RGBA{0x1f, 0x29, 0x33, 0xff}
	grey  = color.RGBA{0x62, 0x6d, 0x78, 0xff}
	line  = color.RGBA{0xe1, 0xe4, 0xe8, 0xff}
	paper = color.RGBA{0xf4, 0xf5, 0xf6, 0xff}
)

// PNG draws panels with what a Prometheus answered to their queries. Panels without an answer say so.
func PNG(to io.Writer, title string, panels []dashboard.Panel, c *dashboard.Capture) error {
	rows := 0
	for _, p := range panels {
		rows = max(rows, p.Grid.Y+p.Grid.Height)
	}
	width, height := columns*columnWidth+2*margin, vg.Length(rows)*rowHeight+header+2*margin
	image := vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(dpi), vgimg.UseBackgroundColor(paper))
	page := draw.New(image)
	write(page, 3*margin, page.Max.Y-header/2, title, 15, ink, true, draw.XLeft)
	when := fmt.Sprintf("%s, %s to %s UTC", c.To.UTC().Format("2 January 2006"), c.From.UTC().Format("15:04"), c.To.UTC().Format("15:04"))
	write(page, page.Max.X-3*margin, page.Max.Y-header/2, when, 9, grey, false, draw.XRight)
	for _, p := range panels {
		if err := drawPanel(place(page, p.Grid), p, c); err != nil {
			return fmt.Errorf("drawing the panel %q: %w", p.Title, err)
		}
	}
	if _, err := (vgimg.PngCanvas{Canvas: image}).WriteTo(to); err != nil {
		return fmt.Errorf("writing the picture: %w", err)
	}
	return nil
}

// place is the part of the page for a panel; y counts from the bottom there.
func place(page draw.Canvas, g dashboard.Grid) draw.Canvas {
	left, top := margin+vg.Length(g.X)*columnWidth, page.Max.Y-header-vg.Length(g.Y)*rowHeight
	return draw.Canvas{Canvas: page.Canvas, Rectangle: vg.Rectangle{
		Min: vg.Point{X: left + margin, Y: top - vg.Length(g.Height)*rowHeight + margin},
		Max: vg.Point{X: left + vg.Length(g.Width)*columnWidth - margin, Y: top - margin},
	}}
}

func drawPanel(area draw.Canvas, p dashboard.Panel, c *dashboard.Capture) error {
	if p.Type == dashboard.Row {
		write(area, area.Min.X+margin, (area.Min.Y+area.Max.Y)/2, p.Title, 11, ink, true, draw.XLeft)
		return nil
	}
	area.FillPolygon(color.White, area.ClipPolygonXY(corners(area)))
	area.StrokeLines(draw.LineStyle{Color: line, Width: vg.Points(0.75)}, append(corners(area), area.Min))
	write(area, area.Min.X+2*margin, area.Max.Y-4*margin, cut(p.Title, 10, area.Size().X-4*margin), 10, ink, true, draw.XLeft)
	all := collect(p, c, 2*c.Step)
	switch {
	case len(all) == 0:
		write(area, (area.Min.X+area.Max.X)/2, (area.Min.Y+area.Max.Y)/2, "no data", 10, grey, false, draw.XCenter)
	case p.Type == dashboard.Number:
		value, found := last(all)
		shown := "no data"
		if found {
			shown = format(value, p.Unit())
		}
		write(area, (area.Min.X+area.Max.X)/2, area.Min.Y+area.Size().Y*0.36, shown, 20, ink, true, draw.XCenter)
	default:
		return drawGraph(area, p, all, c)
	}
	return nil
}

func drawGraph(area draw.Canvas, p dashboard.Panel, all []series, c *dashboard.Capture) error {
	graph, err := plotted(p, all, c)
	if err != nil {
		return err
	}
	lines := drawLegend(area, all)
	inner := draw.Crop(area, 2*margin, -3*margin, 2*margin+lines, -8*margin)
	graph.Draw(inner)
	return nil
}

func corners(area draw.Canvas) []vg.Point {
	return []vg.Point{area.Min, {X: area.Max.X, Y: area.Min.Y}, area.Max, {X: area.Min.X, Y: area.Max.Y}}
}

func textStyle(size float64, ink color.Color, bold bool) text.Style {
	f := font.Font{Typeface: plot.DefaultFont.Typeface, Variant: "Sans", Size: vg.Points(size)}
	if bold {
		f.Weight = xfont.WeightBold
	}
	return text.Style{Color: ink, Font: f, XAlign: draw.XLeft, YAlign: draw.YCenter, Handler: plot.DefaultTextHandler}
}

// write writes a text that begins, ends or has its middle at x. Letter by letter: together they are set so closely that a full stop is lost.
func write(area draw.Canvas, x, y vg.Length, what string, size float64, ink color.Color, bold bool, align text.XAlignment) {
	style := textStyle(size, ink, bold)
	x += vg.Length(align) * widthOf(what, style)
	for _, letter := range what {
		area.FillText(style, vg.Point{X: x, Y: y}, string(letter))
		x += style.Width(string(letter))
	}
}

// widthOf is how wide a text is that write writes.
func widthOf(what string, style text.Style) vg.Length {
	width := vg.Length(0)
	for _, letter := range what {
		width += style.Width(string(letter))
	}
	return width
}

// cut shortens a text that is wider than there is room.
func cut(what string, size float64, room vg.Length) string {
	style := textStyle(size, ink, true)
	short := []rune(what)
	for len(short) > 1 && widthOf(what, style) > room {
		short = short[:len(short)-1]
		what = string(short) + "…"
	}
	return what
}
