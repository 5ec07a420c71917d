package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Port is where node-sync answers the kubelet, the controller and Prometheus.
const Port = 5002

const readTimeout = 5 * time.Second

// Handler answers for a node.
func (s *Syncer) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /startz", s.answer(func(r Report) bool { return r.TakenOver }))
	mux.HandleFunc("GET /readyz", s.answer(Report.Configured))
	mux.HandleFunc("GET /report", s.answer(func(Report) bool { return true }))
	mux.HandleFunc("GET /metrics", s.expose)
	return mux
}

// answer always tells the report; the status is for probes.
func (s *Syncer) answer(ok func(Report) bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		r := s.Report()
		r.Now = time.Now().UTC()
		w.Header().Set("Content-Type", "application/json")
		if !ok(r) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(r) // the other side went away
	}
}

// Serve answers until the context ends.
func (s *Syncer) Serve(ctx context.Context) error {
	server := &http.Server{Addr: fmt.Sprintf(":%d", Port), Handler: s.Handler(), ReadHeaderTimeout: readTimeout}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("answering on %s: %w", server.Addr, err)
	}
	return nil
}
