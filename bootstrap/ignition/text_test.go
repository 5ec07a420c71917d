package ignition

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// rebuilt is a value as our walk over its text sees it, with every leaf read by encoding/json.
func rebuilt(g *WithT, v value) any {
	switch {
	case v.is('{'):
		object := map[string]any{}
		for key, member := range v.members() {
			object[key.string()] = rebuilt(g, member)
		}
		return object
	case v.is('['):
		array := []any{}
		for item := range v.items() {
			array = append(array, rebuilt(g, item))
		}
		return array
	}
	var leaf any
	decoder := json.NewDecoder(bytes.NewReader(v.raw()))
	decoder.UseNumber()
	g.Expect(decoder.Decode(&leaf)).To(Succeed(), string(v.raw()))
	return leaf
}

func TestValue_is_what_encoding_json_reads(t *testing.T) {
	texts := []string{
		`{}`, `[]`, ` [ ] `, `{ "a" : 1 , "b":[2,-3.5e+7,true , false,null],"":{"}":"]","\"":"\\"}}`, "\t{\"a\"\r\n:\n\"b\\\\\" }\n",
		`"a"`, ` 1`, `[null ]`, `[[[[]]],{"a":[{}]}]`, `{"\u00e9\ud83d\ude00":"\u0000","k":"\u212a"}`, "[\"\xff\"]", `[1,2]`, "[1\n,2\t]",
	}
	for _, name := range slices.Concat(twos, threes) {
		texts = append(texts, string(read(t, name)))
	}
	for i, text := range texts {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			g := NewWithT(t)
			var want any
			decoder := json.NewDecoder(strings.NewReader(text))
			decoder.UseNumber()
			g.Expect(decoder.Decode(&want)).To(Succeed())
			v := whole([]byte(text))
			g.Expect(rebuilt(g, v)).To(Equal(want))
			g.Expect(string(v.raw())).To(Equal(strings.TrimSpace(text)))
		})
	}
}

func TestValue_fields_wants_each_name_once_and_as_it_is_written(t *testing.T) {
	for text, reason := range map[string]string{
		`{"a":1,"b":2}`:       "",
		`{"\u0061":1}`:        "",
		`{"c":1,"c":2}`:       "",
		`null`:                "",
		`{"a":1,"a":1}`:       `the field "a" stands twice`,
		`{"A":1}`:             `in other letters`,
		`{"kind":1}`:          "",
		`{"\u212aind":1}`:     `the field "kind" stands twice or in other letters`,
		`[]`:                  "not an object",
		`"a"`:                 "not an object",
		`{"x":{"a":1,"a":2}}`: "",
	} {
		t.Run(text, func(t *testing.T) {
			g := NewWithT(t)
			_, err := whole([]byte(text)).fields("a", "b", "kind")
			if reason == "" {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			g.Expect(err).To(MatchError(ContainSubstring(reason)))
		})
	}
}

func TestApply_does_edits_in_order_of_their_place(t *testing.T) {
	g := NewWithT(t)
	g.Expect(string(apply([]byte("abcdef"), []edit{{5, 5, "3"}, {1, 1, "1"}, {1, 3, "2"}, {5, 5, "4"}, {6, 6, "5"}}))).To(Equal("a12de34f5"))
	g.Expect(string(apply([]byte("abc"), nil))).To(Equal("abc"))
}
