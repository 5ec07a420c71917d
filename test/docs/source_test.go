package docs

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

const events = `package a

const Fixed = "Constant"

type Recorder struct{ cause, origin string }

func (r Recorder) tell(kind, reason string) { r.Eventf(nil, nil, kind, reason, "Act", "note") }
func (r Recorder) warn(reason string)       { r.tell("Warning", reason) }

func (r *Recorder) because(origin string)   { r.origin = origin }

func (r Recorder) all(other Recorder) {
	r.tell("Normal", "Literal")
	r.warn(other.Fixed)
	for reason, list := range map[string][]string{"Key": nil} {
		r.tell("Normal", reason)
		_ = list
	}
	problem := "Assigned"
	r.Eventf(nil, nil, "Normal", problem, "Act", "note")
	r.warn(Recorder{cause: "Field"}.cause)
	r.warn("Prefix" + r.cause)
	r.because("Handed")
	r.warn(r.origin)
	r.Printf("Not", "An", "Event", "AtAll")
}
`

func TestEventReasons(t *testing.T) {
	g := NewWithT(t)
	s := write(g, t.TempDir(), events)
	g.Expect(s.EventReasons()).To(Equal(map[string]bool{"Literal": true, "Constant": true, "Key": true, "Assigned": true, "Field": true, "PrefixField": true, "Handed": true}))
	g.Expect(s.Constants()).To(Equal(map[string]string{"Fixed": "Constant"}))
	g.Expect(s.Literals()).To(And(HaveKey("AtAll"), HaveKey("Act")))
}

func TestAnEventWhoseReasonIsNotFoundIsAnError(t *testing.T) {
	g := NewWithT(t)
	s := write(g, t.TempDir(), "package a\n\nfunc f(r Recorder) {\n\tr.Eventf(nil, nil, \"Normal\", compute(), \"Act\", \"note\")\n}\n")
	_, err := s.EventReasons()
	g.Expect(err).To(MatchError(And(ContainSubstring("a.go:4"), ContainSubstring("the reason of this Event is not known"))))
}

func write(g *WithT, dir, code string) *Source {
	g.Expect(os.WriteFile(filepath.Join(dir, "a.go"), []byte(code), 0o600)).To(Succeed())
	s, err := ReadSource(dir, ".")
	g.Expect(err).NotTo(HaveOccurred())
	return s
}
