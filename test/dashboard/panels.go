package dashboard

import (
	"encoding/json"
	"fmt"
	"strings"
)

// File is where the dashboard is in this repository.
const File = "config/monitoring/dashboard.json"

// Kinds of panels.
const (
	Row    = "row"
	Number = "stat"
	Graph  = "timeseries"
)

// Panel is a panel of the dashboard; a row has no queries.
type Panel struct {
	ID      int     `json:"id"`
	Type    string  `json:"type"`
	Title   string  `json:"title"`
	Grid    Grid    `json:"gridPos"`
	Queries []Query `json:"targets"`
	Fields  struct {
		Defaults struct {
			Unit   string   `json:"unit"`
			Max    *float64 `json:"max"`
			Custom struct {
				Interpolation string `json:"lineInterpolation"`
				Stacking      struct {
					Mode string `json:"mode"`
				} `json:"stacking"`
			} `json:"custom"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
}

// Grid is where a panel is, in columns of Grafana's 24 and in its rows.
type Grid struct {
	X      int `json:"x"`
	Y      int `json:"y"`
	Width  int `json:"w"`
	Height int `json:"h"`
}

// Query is an expression with variables. Instant ones are asked once for the whole time.
type Query struct {
	Ref     string `json:"refId"`
	Expr    string `json:"expr"`
	Legend  string `json:"legendFormat"`
	Instant bool   `json:"instant"`
}

// Read returns the panels of a dashboard in Grafana's JSON.
func Read(content []byte) ([]Panel, error) {
	made := struct {
		Panels []Panel `json:"panels"`
	}{}
	if err := json.Unmarshal(content, &made); err != nil {
		return nil, fmt.Errorf("reading the dashboard: %w", err)
	}
	for _, p := range made.Panels {
		if p.Type != Row && p.Type != Number && p.Type != Graph {
			return nil, fmt.Errorf("panel %q is of type %q; accepted are %s, %s and %s", p.Title, p.Type, Row, Number, Graph)
		}
	}
	return made.Panels, nil
}

// Unit is that of the values, as Grafana calls it.
func (p Panel) Unit() string { return p.Fields.Defaults.Unit }

// Stacked says that values are on top of each other.
func (p Panel) Stacked() bool { return p.Fields.Defaults.Custom.Stacking.Mode == "normal" }

// Steps says that a value holds until the next one.
func (p Panel) Steps() bool { return p.Fields.Defaults.Custom.Interpolation == "stepAfter" }

// Variables are what stands in place of $name in queries, by name without the dollar.
type Variables map[string]string

// All are the variables if a reader has chosen nothing. Window is the time that is looked at, rateInterval that of rates, both as Prometheus
// writes durations.
func All(window, rateInterval string) Variables {
	return Variables{"cluster": ".*", "namespace": ".+", "upstream": ".+", "__range": window, "__rate_interval": rateInterval}
}

// Fill puts values in place of variables. One without a value is an error.
func (v Variables) Fill(expr string) (string, error) {
	var pairs []string
	for name, value := range v {
		pairs = append(pairs, "$"+name, value)
	}
	filled := strings.NewReplacer(pairs...).Replace(expr)
	if strings.Contains(filled, "$") {
		return "", fmt.Errorf("%s: a variable has no value", filled)
	}
	return filled, nil
}
