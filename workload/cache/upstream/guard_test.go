package upstream

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
)

// other is a host that is not the upstream, and remembers the headers and the forms that it got.
type other struct {
	mu    sync.Mutex
	seen  []http.Header
	forms string
}

func (o *other) remember(r *http.Request) {
	form, _ := io.ReadAll(r.Body)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen = append(o.seen, r.Header.Clone())
	o.forms += string(form)
}

func (o *other) headers() []http.Header {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seen
}

func TestAForeignTokenServerIsAskedWithoutCredentials(t *testing.T) {
	for name, user := range map[string]string{"password": username, "identity token": identityToken} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var foreign other
			r := newRegistry(t)
			server := serveTLS(t, defaultCA, http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
				foreign.remember(request)
				r.set(func() { r.issued["elsewhere"] = request.FormValue("scope") + " " })
				_, _ = io.WriteString(w, `{"token":"elsewhere"}`)
			}))
			r.set(func() { r.realm = server.URL + "/token" })
			c := newClient(t, r.URL, withCredentials(user, password))
			if user == identityToken {
				_, err := pull(t, c, publicBlob)
				g.Expect(err).NotTo(HaveOccurred(), "a token for everyone")
			} else {
				g.Expect(pull(t, c, publicBlob)).To(Equal(content))
			}
			g.Expect(foreign.headers()).To(HaveLen(1))
			g.Expect(foreign.headers()[0]).NotTo(HaveKey("Authorization"))
		})
	}
}

func TestCredentialsAreNotSentFromHTTPSDownToHTTP(t *testing.T) {
	g := NewWithT(t)
	var plain other
	server := servePlain(t, func(w http.ResponseWriter, r *http.Request) {
		plain.remember(r)
		_, _ = io.WriteString(w, `{"token":"plain"}`)
	})
	_, port, err := net.SplitHostPort(strings.TrimPrefix(server.URL, "http://"))
	g.Expect(err).NotTo(HaveOccurred())
	r := newRegistry(t, func(r *registry) { r.realm = "http://auth.example.com:" + port + "/token" })
	c := newClient(t, "https://registry.example.com", withCredentials(username, password))
	resolve(c, map[string]string{
		"registry.example.com:443": r.Listener.Addr().String(),
		"auth.example.com:" + port: server.Listener.Addr().String(),
	})
	_, err = pull(t, c, secretBlob)
	g.Expect(err).To(ofKind(Unauthorized))
	g.Expect(plain.headers()).NotTo(BeEmpty())
	for _, header := range plain.headers() {
		g.Expect(header).NotTo(HaveKey("Authorization"))
	}
}

func TestATokenServerInTheDomainOfTheUpstreamGetsTheCredentialsAndThoseItRedirectsToDoNot(t *testing.T) {
	g := NewWithT(t)
	r := newRegistry(t, func(r *registry) { r.realm = "https://auth.example.com/token" })
	var foreign other
	teapot := http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		foreign.remember(request)
		w.WriteHeader(http.StatusTeapot)
	})
	elsewhere, plain := serveTLS(t, defaultCA, teapot), servePlain(t, teapot)
	known := map[string]string{
		"registry.example.com:443": r.Listener.Addr().String(),
		"auth.example.com:443":     r.Listener.Addr().String(),
		"auth.example.net:443":     elsewhere.Listener.Addr().String(),
		"redirects.example.com:80": plain.Listener.Addr().String(),
	}
	c := newClient(t, "https://registry.example.com", withCredentials(username, password))
	resolve(c, known)
	g.Expect(pull(t, c, secretBlob)).To(Equal(content))
	g.Expect(r.count("GET /token Basic")).To(Equal(1))

	r.set(func() { r.realm = "https://redirects.example.com/token" })
	for _, target := range []string{"https://auth.example.net/token?", "http://redirects.example.com/token?"} {
		redirecting := serveTLS(t, defaultCA, http.RedirectHandler(target+querySign, http.StatusTemporaryRedirect))
		known["redirects.example.com:443"] = redirecting.Listener.Addr().String()
		for _, user := range []string{username, identityToken} {
			c = newClient(t, "https://registry.example.com", withCredentials(user, password))
			resolve(c, known)
			_, err := pull(t, c, secretBlob)
			g.Expect(err).To(HaveOccurred())
		}
	}
	g.Expect(foreign.headers()).NotTo(BeEmpty())
	for _, header := range foreign.headers() {
		g.Expect(header).NotTo(HaveKey("Authorization"))
	}
	g.Expect(foreign.forms).To(BeEmpty())
}

func TestRedirectsCarryWhatIsAskedForButNoToken(t *testing.T) {
	g := NewWithT(t)
	var cdn, back other
	var home string
	second := servePlain(t, func(w http.ResponseWriter, r *http.Request) {
		cdn.remember(r)
		if r.URL.Path == "/back" {
			http.Redirect(w, r, home+"/back?"+querySign, http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, content)
	})
	first := serveTLS(t, defaultCA, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cdn.remember(r)
		http.Redirect(w, r, second.URL+r.URL.Path+"?"+querySign, http.StatusTemporaryRedirect)
	}))
	r := serveTLS(t, defaultCA, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _, given := r.BasicAuth()
		switch {
		case !given:
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/back":
			back.remember(r)
			_, _ = io.WriteString(w, content)
		default:
			http.Redirect(w, r, first.URL+"/"+r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]+"?"+querySign, http.StatusTemporaryRedirect)
		}
	}))
	home = r.URL
	c := newClient(t, r.URL, withCredentials(username, password))
	for _, path := range []string{"/v2/a/blobs/there", "/v2/a/blobs/back"} {
		response, err := c.Do(context.Background(), http.MethodGet, path, http.Header{
			"Range": {"bytes=5-"}, "Accept": {"a/b", "c/d"},
			"Authorization": {"Basic " + tokenWord}, "Cookie": {"a=" + tokenWord}, "Accept-Encoding": {"gzip"},
		})
		g.Expect(err).NotTo(HaveOccurred())
		got, err := io.ReadAll(response.Body)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(string(got)).To(Equal(content))
		g.Expect(response.Body.Close()).To(Succeed())
		g.Expect(response.Request.Header).NotTo(HaveKey("Authorization"), "callers may log it")
	}
	g.Expect(cdn.headers()).To(HaveLen(4))
	for _, header := range cdn.headers() {
		g.Expect(header).To(HaveKeyWithValue("Range", []string{"bytes=5-"}))
		g.Expect(header).To(HaveKeyWithValue("Accept", []string{"a/b", "c/d"}))
		for _, name := range []string{"Authorization", "Cookie", "Accept-Encoding", "Referer"} {
			g.Expect(header).NotTo(HaveKey(name))
		}
	}
	g.Expect(back.headers()).To(HaveLen(1), "the upstream itself may have its own again")
}

func TestARedirectToAnotherRegistryIsFollowedWithATokenForEveryone(t *testing.T) {
	g := NewWithT(t)
	there := newRegistry(t)
	var mu sync.Mutex
	tokens := 0
	here := serveTLS(t, defaultCA, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case r.URL.Path == "/token":
			tokens++
			_, _ = io.WriteString(w, `{"token":"`+tokenWord+`here"}`)
		case r.Header.Get("Authorization") != "Bearer "+tokenWord+"here":
			w.Header().Set("WWW-Authenticate", `Bearer realm="https://`+r.Host+`/token"`)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			http.Redirect(w, r, there.URL+r.URL.Path, http.StatusTemporaryRedirect)
		}
	}))
	c := newClient(t, here.URL, withCredentials(username, password))
	g.Expect(pull(t, c, publicBlob)).To(Equal(content))
	g.Expect(pull(t, c, publicBlob)).To(Equal(content))
	g.Expect(there.requests()).To(Equal([]string{
		"GET " + publicBlob, "GET /token", "GET " + publicBlob + " Bearer", "GET " + publicBlob, "GET " + publicBlob + " Bearer",
	}))
	_, err := pull(t, c, secretBlob)
	g.Expect(err).To(ofKind(Unauthorized))
	g.Expect(there.count("GET /token Basic")).To(BeZero())
}

func TestRedirectsEnd(t *testing.T) {
	g := NewWithT(t)
	var asked other
	server := servePlain(t, func(w http.ResponseWriter, r *http.Request) {
		asked.remember(r)
		http.Redirect(w, r, r.URL.Path+"?"+querySign, http.StatusFound)
	})
	c := newClient(t, server.URL)
	_, err := pull(t, c, publicBlob)
	g.Expect(err).To(ofKind(Other))
	g.Expect(err).To(MatchError(ContainSubstring("redirects")))
	g.Expect(asked.headers()).To(HaveLen(11))
}

func TestRealmsThatMaySeeTheCredentials(t *testing.T) {
	tests := map[string]struct {
		registry, realm string
		want            bool
	}{
		"itself":                                 {"https://r.example.com", "https://r.example.com/token", true},
		"itself with its port":                   {"https://r.example.com", "https://R.example.com.:443/token", true},
		"itself at an address":                   {"http://10.0.0.1:5000", "http://10.0.0.1:5000/token", true},
		"the same domain":                        {"https://registry-1.docker.io", "https://auth.docker.io/token", true},
		"the same domain at another port":        {"https://r.example.com", "https://auth.example.com:8443/token", true},
		"up to https":                            {"http://r.example.com", "https://auth.example.com", true},
		"down to http":                           {"https://r.example.com", "http://r.example.com", false},
		"another domain":                         {"https://r.example.com", "https://r.example.net", false},
		"a domain that ends alike":               {"https://r.example.com", "https://evil-example.com", false},
		"a neighbour below a public suffix":      {"https://a.github.io", "https://b.github.io", false},
		"an address for a name":                  {"https://r.example.com", "https://10.0.0.1", false},
		"another port of an address":             {"http://10.0.0.1:5000", "http://10.0.0.1:5001", false},
		"localhost for a name":                   {"https://r.example.com", "https://localhost", false},
		"another port of localhost":              {"http://localhost:5000", "http://localhost:5001", false},
		"an address with a zone":                 {"http://[fe80::1%25a]:80", "http://[fe80::1%25b]:80", false},
		"two names without a registrable domain": {"http://registry:5000", "http://auth:5000", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			registry, err := url.Parse(test.registry)
			g.Expect(err).NotTo(HaveOccurred())
			realm, err := url.Parse(test.realm)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(realmAccepted(registry, realm)).To(Equal(test.want))
		})
	}
}

func TestScopes(t *testing.T) {
	for path, want := range map[string]string{
		"/v2/":                                 "",
		"/v2/app/manifests/1.0":                "repository:app:pull",
		"/v2/a/b/c/blobs/sha256:1":             "repository:a/b/c:pull",
		"/v2/a/tags/list":                      "repository:a:pull",
		"/v2/a/referrers/sha256:1":             "repository:a:pull",
		"/v2/a/blobs/manifests/blobs/sha256:1": "repository:a/blobs/manifests:pull",
		"/v2/a/tags/list/manifests/list":       "repository:a/tags/list:pull",
		"/v2/_catalog":                         "",
		"/v2//blobs/sha256:1":                  "",
	} {
		NewWithT(t).Expect(scopeOf(path)).To(Equal(want), path)
	}
}

func TestOnlyPathsOfARegistryAreAskedFor(t *testing.T) {
	g := NewWithT(t)
	c := newClient(t, "http://"+refusedAddress(t))
	for _, path := range []string{"", "/", "/v2", "//evil.example.net/v2/", "http://evil.example.net/v2/", "/v2/%zz?" + querySign} {
		_, err := pull(t, c, path)
		g.Expect(err).To(And(ofKind(Other), MatchError(ContainSubstring("accepted"))), path)
	}
}

func TestAnURLThatIsNotARegistrysIsRefused(t *testing.T) {
	g := NewWithT(t)
	for _, raw := range []string{"ftp://example.com", "https://", "https://example.com/v2/", "/x", "https://user:" + password + "@example.com/a"} {
		u, err := url.Parse(raw)
		g.Expect(err).NotTo(HaveOccurred())
		_, err = New(Options{URL: u})
		g.Expect(err).To(MatchError(ContainSubstring("accepted")), raw)
		g.Expect(secretIn(fmt.Sprint(err))).To(BeEmpty())
	}
	_, err := New(Options{})
	g.Expect(err).To(MatchError(ContainSubstring("accepted")))
}
