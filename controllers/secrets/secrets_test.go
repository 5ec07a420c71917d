package secrets_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/capi-registry-cache/capi-registry-cache/controllers/secrets"
)

const hidden = "s3cr3t-value"

func secret(data map[string]string) *corev1.Secret {
	s := &corev1.Secret{Data: map[string][]byte{}}
	for key, value := range data {
		s.Data[key] = []byte(value)
	}
	return s
}

func TestCredentialsThatAreRightAreRead(t *testing.T) {
	for name, tc := range map[string]struct{ username, password, want string }{
		"a robot":                   {"org+robot$ci", "#" + hidden + ": {x}", "#" + hidden + ": {x}"},
		"white space inside":        {"user", "correct horse", "correct horse"},
		"a refresh token":           {"<token>", hidden, hidden},
		"a service account":         {"_json_key", `{"type": "service_account", "private_key": "-----BEGIN\n"}`, `{"type":"service_account","private_key":"-----BEGIN\n"}`},
		"a file of gcloud":          {"_json_key", "{\n  \"type\": \"service_account\",\n  \"universe_domain\": \"googleapis.com\"\n}\n", `{"type":"service_account","universe_domain":"googleapis.com"}`},
		"another user with JSON":    {"_json_key_base64", "eyJ0eXBlIjoi", "eyJ0eXBlIjoi"},
		"a password with any signs": {"user", `"'\%$ü€`, `"'\%$ü€`},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got, err := secrets.ReadCredentials(secret(map[string]string{"username": tc.username, "password": tc.password, "note": "not ours"}))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect([]string{string(got.Username), string(got.Password)}).To(Equal([]string{tc.username, tc.want}))
		})
	}
}

func TestCredentialsThatAreWrongAreRefusedWithoutTellingThem(t *testing.T) {
	account := func(more string) map[string]string {
		return map[string]string{"username": "_json_key", "password": `{"type": "service_account", "private_key": "` + hidden + `"` + more}
	}
	for name, tc := range map[string]struct {
		data map[string]string
		want string
	}{
		"no user name":                  {map[string]string{"password": hidden}, "key username is missing; accepted is a Secret with the keys username and password"},
		"no password":                   {map[string]string{"username": hidden}, "key password is missing"},
		"another type of Secret":        {map[string]string{".dockerconfigjson": hidden}, "key username is missing"},
		"an empty user name":            {map[string]string{"username": "", "password": hidden}, "key username is empty"},
		"an empty password":             {map[string]string{"username": hidden, "password": ""}, "key password is empty"},
		"a line end after the password": {map[string]string{"username": "u", "password": hidden + "\n"}, "key password begins or ends with white space"},
		"a space before the user name":  {map[string]string{"username": " " + hidden, "password": "p"}, "key username begins or ends with white space"},
		"two lines":                     {map[string]string{"username": "u", "password": hidden + "\n" + hidden}, "key password holds a control character"},
		"a zero byte":                   {map[string]string{"username": "u\x00" + hidden, "password": "p"}, "key username holds a control character"},
		"no text":                       {map[string]string{"username": "u", "password": hidden + "\xff"}, "key password is not text"},
		"a colon in the user name":      {map[string]string{"username": "u:" + hidden, "password": "p"}, "key username holds a colon"},
		"a service account without key": {map[string]string{"username": "_json_key"}, "key password is missing or empty; accepted with user name _json_key"},
		"a service account that is cut": {account(""), "key password is not a JSON object of strings"},
		"more than one object":          {account(`} {"a": "b"}`), "key password is not a JSON object of strings"},
		"a field twice":                 {account(`, "type": "service_account"}`), "key password is not a JSON object of strings"},
		"an object inside":              {account(`, "credential_source": {"url": "http://169.254.169.254"}}`), "key password is not a JSON object of strings"},
		"no JSON":                       {map[string]string{"username": "_json_key", "password": hidden}, "key password is not a JSON object of strings"},
		"a list":                        {map[string]string{"username": "_json_key", "password": `["` + hidden + `"]`}, "key password is not a JSON object of strings"},
		"a call elsewhere":              {account(`, "service_account_impersonation_url": "http://x"}`), "a field service_account_impersonation_url that"},
		"a value as a field":            {account(`, "` + hidden + `": "x"}`), "has a field that the key of a service account does not have"},
		"another kind of account": {
			map[string]string{"username": "_json_key", "password": `{"type": "external_account", "client_id": "` + hidden + `"}`}, "the field type is not service_account",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := secrets.ReadCredentials(secret(tc.data))
			g.Expect(err).To(MatchError(And(ContainSubstring(tc.want), ContainSubstring("accepted"))))
			g.Expect(err.Error()).NotTo(ContainSubstring(hidden), "I7")
		})
	}
}

func certificate(t *testing.T) string {
	t.Helper()
	g := NewWithT(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	g.Expect(err).NotTo(HaveOccurred())
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestACABundleHoldsCertificatesAndNothingElse(t *testing.T) {
	one, two := certificate(t), certificate(t)
	key := "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"
	for name, tc := range map[string]struct{ value, want, refused string }{
		"one":                          {one, one, ""},
		"two with remarks":             {"# first\n" + one + "\n\nsecond:\n" + two, one + two, ""},
		"with headers":                 {strings.Replace(one, "-----\n", "-----\nA: b\n\n", 1), one, ""},
		"nothing":                      {"", "", "key ca.crt holds no certificate"},
		"text":                         {hidden, "", "key ca.crt holds no certificate"},
		"a key as well":                {one + key, "", "key ca.crt: PEM block 2 is not a certificate"},
		"a certificate that is cut":    {one[:len(one)/2], "", "key ca.crt holds a damaged PEM block"},
		"the second is cut":            {one + two[:len(two)/2], "", "key ca.crt holds a damaged PEM block"},
		"the first is damaged":         {strings.Replace(one, "\nM", "\n!", 1) + two, "", "key ca.crt holds a damaged PEM block"},
		"something that is not a cert": {"-----BEGIN CERTIFICATE-----\nc2VjcmV0\n-----END CERTIFICATE-----\n", "", "PEM block 1 is not a valid certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got, err := secrets.ReadCABundle(secret(map[string]string{"ca.crt": tc.value}))
			if tc.refused == "" {
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(string(got)).To(Equal(tc.want))
				return
			}
			g.Expect(err).To(MatchError(And(ContainSubstring(tc.refused), ContainSubstring("accepted"))))
			g.Expect(err.Error()).NotTo(ContainSubstring(hidden))
		})
	}
	_, err := secrets.ReadCABundle(secret(map[string]string{"bundle.crt": one}))
	NewWithT(t).Expect(err).To(MatchError(ContainSubstring("key ca.crt is missing")))
}
