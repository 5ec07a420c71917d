package picture

import (
	"fmt"
	"math"
	"strconv"
)

// scale is a unit and how many times the first one of its list it is.
type scale struct {
	factor float64
	name   string
}

var (
	binary  = []scale{{1, "B"}, {1 << 10, "KiB"}, {1 << 20, "MiB"}, {1 << 30, "GiB"}, {1 << 40, "TiB"}}
	decimal = []scale{{1, ""}, {1e3, "K"}, {1e6, "M"}, {1e9, "G"}}
	times   = []scale{{1e-6, "µs"}, {1e-3, "ms"}, {1, "s"}, {60, "min"}, {3600, "h"}, {86400, "days"}, {365 * 86400, "years"}}
)

// format is a value in a unit of Grafana, as Grafana would show it, with three digits.
func format(value float64, unit string) string {
	switch unit {
	case "percentunit":
		return digits(100*value) + " %"
	case "bytes":
		return scaled(value, binary, " ")
	case "binBps":
		return scaled(value, binary, " ") + "/s"
	case "reqps":
		return scaled(value, decimal, " ") + " req/s"
	case "s":
		return scaled(value, times, " ")
	default:
		return scaled(value, decimal, " ")
	}
}

// scaled takes the largest scale that leaves at least one.
func scaled(value float64, scales []scale, space string) string {
	best := scales[0]
	for _, s := range scales {
		if math.Abs(value) >= s.factor*(1-1e-9) {
			best = s
		}
	}
	if value == 0 {
		best = first(scales)
	}
	if best.name == "" {
		space = ""
	}
	return digits(value/best.factor) + space + best.name
}

// first is the scale with the factor 1, in which 0 is told.
func first(scales []scale) scale {
	for _, s := range scales {
		if s.factor == 1 {
			return s
		}
	}
	return scales[0]
}

// digits has three of them at most, and no zeros at the end.
func digits(value float64) string {
	switch {
	case value == 0:
		return "0"
	case math.Abs(value) >= 100:
		return fmt.Sprintf("%.0f", value)
	}
	return strconv.FormatFloat(round(value), 'f', -1, 64)
}

func round(value float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(math.Abs(value)))-2)
	return math.Round(value/unit) * 1e6 * unit / 1e6
}

// tickStep is a distance of ticks, of which about n make up size. Sizes in bytes have steps of powers of two.
func tickStep(size float64, n int, unit string) float64 {
	raw := size / float64(n)
	if raw <= 0 || math.IsInf(raw, 0) || math.IsNaN(raw) {
		return 1
	}
	if unit == "bytes" || unit == "binBps" {
		return math.Pow(2, math.Ceil(math.Log2(raw)))
	}
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, step := range []float64{1, 2, 5, 10} {
		if step*power >= raw*(1-1e-9) {
			return step * power
		}
	}
	return 10 * power
}
