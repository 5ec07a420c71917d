package registrycache

// event tells what happened to a RegistryCache. The action is what the controller was doing.
func (r *Reconciler) event(s *scope, kind, reason, action, note string, args ...any) {
	r.Recorder.Eventf(s.cache, nil, kind, reason, action, note, args...)
}
