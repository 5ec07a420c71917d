// Package picture draws the dashboard from its JSON and from answers of a Prometheus: where Grafana puts the panels, with their titles, units
// and legends. It is for a reader of the documentation, who has no Grafana at hand.
package picture
