package picture

import (
	"fmt"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

const (
	legendSize  = 8
	legendLine  = vg.Length(11)
	legendLines = 3
	mark        = vg.Length(7)
)

// drawLegend writes the names of series at the bottom of an area, from left to right in a few lines, and returns the height that they take.
func drawLegend(area draw.Canvas, all []series) vg.Length {
	lines := flow(names(all), area.Size().X-4*margin)
	for i, entries := range lines {
		x, y := area.Min.X+2*margin, area.Min.Y+2*margin+vg.Length(len(lines)-1-i)*legendLine+legendLine/2
		for _, e := range entries {
			if e.series >= 0 {
				square := []vg.Point{{X: x, Y: y - mark/2}, {X: x + mark, Y: y - mark/2}, {X: x + mark, Y: y + mark/2}, {X: x, Y: y + mark/2}}
				area.FillPolygon(colour(e.series), square)
			}
			write(area, x+mark+margin, y, e.name, legendSize, ink, false, draw.XLeft)
			x += e.width()
		}
	}
	return vg.Length(len(lines)) * legendLine
}

// entry is a name in the legend, and the series that it is of; -1 if it is of none.
type entry struct {
	name   string
	series int
}

func (e entry) width() vg.Length {
	return widthOf(e.name, textStyle(legendSize, ink, false)) + mark + 4*margin
}

func names(all []series) []entry {
	entries := make([]entry, len(all))
	for i, s := range all {
		entries[i] = entry{name: s.name, series: i}
	}
	return entries
}

// flow breaks entries into lines that fit; what does not fit into the last one is counted.
func flow(entries []entry, room vg.Length) [][]entry {
	var lines [][]entry
	used := room
	for i, e := range entries {
		if used+e.width() > room {
			if len(lines) == legendLines {
				lines[len(lines)-1] = append(lines[len(lines)-1], entry{name: fmt.Sprintf("and %d more", len(entries)-i), series: -1})
				return lines
			}
			lines, used = append(lines, nil), 0
		}
		lines[len(lines)-1] = append(lines[len(lines)-1], e)
		used += e.width()
	}
	return lines
}
