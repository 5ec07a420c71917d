package envtest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"sync"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
)

// AdmissionRequest is one call of the API server to a webhook of ours.
type AdmissionRequest struct {
	Operation       admissionv1.Operation
	Namespace, Name string
}

// AdmissionRequests returns what has reached the webhook server for objects in a namespace, in order, without dry runs.
func (e *Environment) AdmissionRequests(namespace string) []AdmissionRequest {
	return slices.DeleteFunc(e.requests.all(), func(r AdmissionRequest) bool { return r.Namespace != namespace })
}

type recorder struct {
	mutex    sync.Mutex
	requests []AdmissionRequest
}

func (r *recorder) all() []AdmissionRequest {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return slices.Clone(r.requests)
}

// record notes the request in an AdmissionReview, and the zero request for a body that is none.
func (r *recorder) record(body []byte) {
	review := admissionv1.AdmissionReview{}
	request := AdmissionRequest{}
	if err := json.Unmarshal(body, &review); err == nil && review.Request != nil {
		if ptr.Deref(review.Request.DryRun, false) {
			return
		}
		request = AdmissionRequest{Operation: review.Request.Operation, Namespace: review.Request.Namespace, Name: review.Request.Name}
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.requests = append(r.requests, request)
}

// recordingServer is a webhook server that notes each request before its handler sees it.
type recordingServer struct {
	webhook.Server
	recorder *recorder
}

func (s *recordingServer) Register(path string, hook http.Handler) {
	s.Server.Register(path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.recorder.record(body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		hook.ServeHTTP(w, r)
	}))
}
