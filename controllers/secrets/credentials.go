package secrets

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
)

const (
	// UsernameKey is one of the keys of a Secret with credentials, as in one of type kubernetes.io/basic-auth.
	UsernameKey = corev1.BasicAuthUsernameKey
	// PasswordKey is the other one.
	PasswordKey = corev1.BasicAuthPasswordKey

	// jsonKeyUser is who pulls from Google's registries with the JSON key of a service account as the password
	// (https://cloud.google.com/artifact-registry/docs/docker/authentication#json-key).
	jsonKeyUser = "_json_key"
)

// Credentials are a user and a password.
type Credentials struct{ Username, Password []byte }

// serviceAccountFields are all fields that the JSON key of a service account has. Others, as of external accounts, make a client
// that interprets them call elsewhere, or run a program.
var serviceAccountFields = []string{
	"type", "project_id", "private_key_id", "private_key", "client_email", "client_id", "auth_uri", "token_uri",
	"auth_provider_x509_cert_url", "client_x509_cert_url", "universe_domain",
}

// fieldName matches the names that documented kinds of keys use.
var fieldName = regexp.MustCompile(`^[a-z]{2,16}(_[a-z0-9]{2,16}){0,5}$`)

// ReadCredentials returns the credentials in a Secret. Keys that are not asked for are left alone.
func ReadCredentials(secret *corev1.Secret) (Credentials, error) {
	username, err := text(secret, UsernameKey)
	if err != nil {
		return Credentials{}, err
	}
	if strings.Contains(username, ":") {
		return Credentials{}, fmt.Errorf("key %s holds a colon, which HTTP cannot carry in a user name; accepted is a name without", UsernameKey)
	}
	if username == jsonKeyUser {
		key, err := serviceAccount(secret.Data[PasswordKey])
		return Credentials{Username: []byte(username), Password: key}, err
	}
	password, err := text(secret, PasswordKey)
	return Credentials{Username: []byte(username), Password: []byte(password)}, err
}

// text returns a value that is one line of text.
func text(secret *corev1.Secret, key string) (string, error) {
	value, found := secret.Data[key]
	switch {
	case !found:
		return "", fmt.Errorf("key %s is missing; accepted is a Secret with the keys %s and %s", key, UsernameKey, PasswordKey)
	case len(value) == 0:
		return "", fmt.Errorf("key %s is empty; accepted is a value for it", key)
	case !utf8.Valid(value):
		return "", fmt.Errorf("key %s is not text; accepted is UTF-8, base64 once as Secrets have it", key)
	case len(bytes.TrimFunc(value, unicode.IsSpace)) != len(value):
		return "", fmt.Errorf("key %s begins or ends with white space, such as the line end that echo writes; accepted is the value alone", key)
	case bytes.ContainsFunc(value, unicode.IsControl):
		return "", fmt.Errorf("key %s holds a control character; accepted is one line of text", key)
	}
	return string(value), nil
}

// serviceAccount returns the JSON key of a service account, on one line.
func serviceAccount(value []byte) ([]byte, error) {
	const accepted = "accepted with user name " + jsonKeyUser + " is the JSON key of a service account"
	if len(bytes.TrimSpace(value)) == 0 {
		return nil, fmt.Errorf("key %s is missing or empty; %s", PasswordKey, accepted)
	}
	fields, err := stringFields(value)
	if err != nil {
		return nil, fmt.Errorf("key %s is not a JSON object of strings; %s", PasswordKey, accepted)
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(serviceAccountFields, name) {
			return nil, fmt.Errorf("key %s has a field%s that the key of a service account does not have; %s, with the fields %s",
				PasswordKey, quotable(name), accepted, strings.Join(serviceAccountFields, ", "))
		}
	}
	if fields["type"] != "service_account" {
		return nil, fmt.Errorf("key %s: the field type is not service_account; %s", PasswordKey, accepted)
	}
	var compact bytes.Buffer
	err = json.Compact(&compact, value)
	return compact.Bytes(), err
}

// quotable is the name of a field for a message, or nothing if it does not look like one: it may be a misplaced value.
func quotable(name string) string {
	if !fieldName.MatchString(name) {
		return ""
	}
	return " " + name
}

// stringFields reads one JSON object of strings with nothing after it, in which no field is there twice: readers differ in which
// of them counts.
func stringFields(value []byte) (map[string]string, error) {
	decoder := json.NewDecoder(bytes.NewReader(value))
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		return nil, errors.New("no object")
	}
	fields := map[string]string{}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		field, ok := name.(string)
		content, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		text, isText := content.(string)
		if _, twice := fields[field]; !ok || !isText || twice {
			return nil, errors.New("no string, or a field twice")
		}
		fields[field] = text
	}
	if _, err := decoder.Token(); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something after the object")
	}
	return fields, nil
}
