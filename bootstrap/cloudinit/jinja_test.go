package cloudinit

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestMask_puts_words_for_what_jinja_replaces(t *testing.T) {
	for name, tc := range map[string]struct{ in, out string }{
		"nothing":                           {"a: {b: c}\n", "a: {b: c}\n"},
		"an expression":                     {"a: {{ b.c }}d\n", "a: xx xxx xxd\n"},
		"an expression with braces":         {"{{ {'a': '}}'}['a'] }} b", "xx xxxxx xxxxxxxxxx xx b"},
		"letters of more bytes":             {"{{ 'ü' }}ü", "xx xxx xxü"},
		"a comment":                         {"a {# }} {{ #} b", "a xx xx xx xx b"},
		"a block, all of it":                {"a{% if b %}\nc: d\n{% endif %}e", "axx xx x xx\nxx x\nxx xxxxx xxe"},
		"a block in a block":                {"{%if a%}{%for b in c%}x{%endfor%} y{%endif%} z", "xxxx xxxxxxxx x xx xxxxxxxxxxxxxx xxxxxxxxxx z"},
		"an assignment":                     {"{% set a = [\n 1] %} b", "xx xxx x x x\n xx xx b"},
		"an assignment of a filtered block": {"{% set a | b(c=1) %} b {% endset %} c", "xx xxx x x xxxxxx xx x xx xxxxxx xx c"},
		"an assignment of a block":          {"{% set a %} b {% endset %} c", "xx xxx x xx x xx xxxxxx xx c"},
		"text that is not looked into":      {"{% raw %}{{ {% {%- endraw %} b", "xx xxx xxxx xx xxx xxxxxx xx b"},
		"a statement joins the next line":   {"{% do a %}\nb: c\nd", "xx xx x xx\nxx x\nd"},
		"unless told not to":                {"{% do a +%}\nb: c", "xx xx x xxx\nb: c"},
		"a comment joins the next line":     {"{# a #}\r\nb: c\r\nd", "xx x xx\r\nxx x\r\nd"},
		"an expression does not":            {"{{ a }}\nb: c", "xx x xx\nb: c"},
		"minus joins the lines around":      {"a: b\n \n {{- c -}} \n\nd: e\nf", "xx x\n \n xxx x xxx \n\nxx x\nf"},
		"no end":                            {"a {{ b\nc", "a {{ b\nc"},
		"no end of a string":                {"a {{ 'b }}\nc", "a {{ 'b }}\nc"},
		"no end of a comment: bash":         {"${#a[@]} {{ b }}", "${#a[@]} {{ b }}"},
		"no end of a block":                 {"{{ a }} {% if b %} c", "xx x xx {% if b %} c"},
		"no end of raw text":                {"{% raw %} b", "{% raw %} b"},
		"an end without a beginning":        {"{% endif %} {{ b }}", "{% endif %} {{ b }}"},
		"braces that do not match":          {"{{ a) }} b", "{{ a) }} b"},
		"shorter than it could be":          {"{{}}{##}{%%} {{", "xxxxxxxxxxxx {{"},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(string(mask([]byte(tc.in)))).To(Equal(tc.out))
		})
	}
}

func TestInject_leaves_a_document_plain_only_where_jinja_keeps_its_shape(t *testing.T) {
	const h = "## template: jinja\n#cloud-config\n"
	for name, tc := range map[string]struct {
		in   string
		form Form
	}{
		"no Jinja":                          {"a: b\n", CloudConfig},
		"in quotes":                         {"a: '{{ b }}'\nruncmd:\n- \"echo {{ c }}\"\n", CloudConfig},
		"inside of a text":                  {"runcmd:\n- echo {{ c }}\n", CloudConfig},
		"in a comment":                      {"# {{ c }} {# d #} e\nruncmd:\n- a\n", CloudConfig},
		"a block inside of a text":          {"runcmd:\n- |\n  {% if a %}\n  b\n  {% endif %}\n  c\n- d\n", CloudConfig},
		"bash that Jinja refuses":           {"runcmd:\n- echo ${#a[@]}\n", CloudConfig},
		"without quotes":                    {"a: {{ b }}\n", MIME},
		"a list without quotes":             {"runcmd: {{ b }}\n", MIME},
		"text behind it":                    {"runcmd:\n- {{ b }} c\n", MIME},
		"a key":                             {"'{{ b }}': c\n", MIME},
		"statements between the keys":       {"{% if a %}\nb: c\n{% endif %}\n", MIME},
		"a block around keys, in comments":  {"# {% if a %} b\nwrite_files:\n- path: /a\n# {% endif %} c\nruncmd:\n- d\n", MIME},
		"a comment joined with a key":       {"# {% do a %}\nruncmd:\n- d\n", MIME},
		"a comment joined with what we add": {"a: b\n# {% do a %}\n", MIME},
		"a text joined with the next item":  {"runcmd:\n- |\n  {% if a %}\n  b\n  {% endif %}\n- d\n", MIME},
		"a text joined with the next key":   {"runcmd:\n- |\n  {% if a %}\n  b\n  {% endif %}\nc: d\n", MIME},
		"blocks from a text to another":     {"runcmd:\n- a {% if a %} b\nbootcmd:\n- a {% endif %} b\n", MIME},
		"a comment that ends with the data": {"a: b\n# {#\n", MIME},
		"raw text that ends with the data":  {"a: b\n# {% raw %}", MIME},
		"minus before a key":                {"runcmd:\n- a {{ b -}}\nc: d\n", MIME},
		"not even YAML when it is rendered": {"a: '{{ b }}'\nc: [\n", MIME},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			out, err := Inject([]byte(h+tc.in), someFiles(), unit)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(FormOf(out)).To(Equal(tc.form))
			again, err := Inject(out, someFiles(), unit)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(string(again)).To(Equal(string(out)), "I4")
		})
	}
}

func TestInject_leaves_an_entry_of_ours_alone_that_somebody_put_jinja_into(t *testing.T) {
	for _, content := range []string{"'{% set a = 1 %}'\n- path: /b\n  content: c", "a {{ b\n- path: /a\n  content: a }}"} {
		g := NewWithT(t)
		in := "## template: jinja\n#cloud-config\nwrite_files:\n- path: /etc/capi-registry-cache/x\n  content: " + content + "\n"
		out, err := Inject([]byte(in), someFiles(), unit)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(FormOf(out)).To(Equal(MIME))
		g.Expect(string(out)).To(ContainSubstring(in))
	}
}
