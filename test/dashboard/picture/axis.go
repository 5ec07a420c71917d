package picture

import (
	"time"

	"gonum.org/v1/plot"
)

// valueTicks marks values in a unit.
type valueTicks struct{ unit string }

// Ticks is that of plot.Ticker.
func (v valueTicks) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	step := tickStep(high-low, 5, v.unit)
	for n := 0; low+float64(n)*step <= high*(1+1e-9); n++ {
		value := low + float64(n)*step
		ticks = append(ticks, plot.Tick{Value: value, Label: format(value, v.unit)})
	}
	return ticks
}

// timeTicks marks full minutes, hours or days, in UTC.
type timeTicks struct{}

var timeSteps = []time.Duration{
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
}

// Ticks is that of plot.Ticker; values are seconds since 1970.
func (timeTicks) Ticks(low, high float64) []plot.Tick {
	span := time.Duration((high - low) * float64(time.Second))
	step := timeSteps[len(timeSteps)-1]
	for _, s := range timeSteps {
		if span/s <= 8 {
			step = s
			break
		}
	}
	var ticks []plot.Tick
	from := time.Unix(int64(low), 0).UTC()
	for at := from.Truncate(step); !at.After(time.Unix(int64(high), 0)); at = at.Add(step) {
		if !at.Before(from) {
			ticks = append(ticks, plot.Tick{Value: float64(at.Unix()), Label: at.Format("15:04")})
		}
	}
	return ticks
}
