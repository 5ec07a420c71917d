// Package dashboard asks a Prometheus what the dashboard of config/monitoring asks: it reads the JSON (Read), puts values in place of
// variables as Grafana does (Variables), asks each query (Ask), and keeps the answers in a file (Capture), from which the program draw makes
// the picture in docs.
//
// It knows as much of Grafana as that dashboard uses.
package dashboard
