// Command tokens is a token server for a stock distribution registry (https://distribution.github.io/distribution/spec/auth/token/), for
// specs. It gives tokens to one user, whose name and password are in a file that is read at each request.
package main

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"time"
)

const (
	life        = 5 * time.Minute
	readTimeout = 10 * time.Second
	half        = 32 // bytes of each of the two numbers of a signature with P-256
)

type server struct {
	issuer, credentials string
	pair                tls.Certificate
	key                 *ecdsa.PrivateKey
}

func main() {
	s := &server{}
	address := flag.String("address", ":5003", "where to listen, with TLS")
	dir := flag.String("certificates", "/certificates", "directory with tls.crt and tls.key; the key signs tokens as well")
	flag.StringVar(&s.issuer, "issuer", "tokens", "issuer of the tokens")
	flag.StringVar(&s.credentials, "credentials", "/certificates/credentials", "file with user:password")
	flag.Parse()
	if err := s.serve(*address, *dir); err != nil {
		log.Fatal(err)
	}
}

func (s *server) serve(address, dir string) error {
	var err error
	if s.pair, err = tls.LoadX509KeyPair(dir+"/tls.crt", dir+"/tls.key"); err != nil {
		return fmt.Errorf("reading the certificate: %w", err)
	}
	key, ok := s.pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return fmt.Errorf("the key in %s is a %T; accepted is one of P-256", dir, s.pair.PrivateKey)
	}
	s.key = key
	mux := http.NewServeMux()
	mux.HandleFunc("GET /token", s.token)
	web := &http.Server{
		Addr: address, Handler: mux, ReadHeaderTimeout: readTimeout,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{s.pair}, MinVersion: tls.VersionTLS12},
	}
	return web.ListenAndServeTLS("", "")
}

func (s *server) token(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	known, err := os.ReadFile(s.credentials)
	if err != nil || user+":"+password != strings.TrimSpace(string(known)) {
		http.Error(w, "wrong user or password", http.StatusUnauthorized)
		return
	}
	token, err := s.sign(user, r.URL.Query().Get("service"), r.URL.Query()["scope"])
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "expires_in": int(life.Seconds())})
}

// sign makes a token that allows pulls from all repositories in the scopes, as a JSON Web Token with the certificate in its header.
func (s *server) sign(user, service string, scopes []string) (string, error) {
	now := time.Now()
	header := map[string]any{"typ": "JWT", "alg": "ES256", "x5c": []string{base64.StdEncoding.EncodeToString(s.pair.Certificate[0])}}
	claims := map[string]any{
		"iss": s.issuer, "sub": user, "aud": service, "jti": rand.Text(), "access": access(scopes),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(life).Unix(),
	}
	var parts []string
	for _, part := range []any{header, claims} {
		document, err := json.Marshal(part)
		if err != nil {
			return "", err
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(document))
	}
	signed := strings.Join(parts, ".")
	sum := sha256.Sum256([]byte(signed))
	r, second, err := ecdsa.Sign(rand.Reader, s.key, sum[:])
	if err != nil {
		return "", err
	}
	signature := append(r.FillBytes(make([]byte, half)), second.FillBytes(make([]byte, half))...)
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

type resource struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// access is what scopes such as repository:app:pull ask for, with pulls only.
func access(scopes []string) []resource {
	allowed := []resource{}
	for _, scope := range scopes {
		rest, isRepository := strings.CutPrefix(scope, "repository:")
		name, actions, found := cutLast(rest, ":")
		if isRepository && found && strings.Contains(","+actions+",", ",pull,") {
			allowed = append(allowed, resource{Type: "repository", Name: name, Actions: []string{"pull"}})
		}
	}
	return allowed
}

func cutLast(text, separator string) (before, after string, found bool) {
	i := strings.LastIndex(text, separator)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(separator):], true
}
