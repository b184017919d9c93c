// Makes slugs: what a text is called in a URL.
package main

import (
	"slices"
	"strconv"
	"strings"

	"slug/compozy"
)

type document struct {
	Text string `json:"text"`
}

type named struct {
	Slug  string `json:"slug"`
	Words int    `json:"words"`
}

func slugify(input document) (named, error) {
	separates := func(letter rune) bool {
		return letter < 0x80 && !(letter >= 'a' && letter <= 'z' || letter >= '0' && letter <= '9')
	}
	words := strings.FieldsFunc(strings.ToLower(input.Text), separates)
	if len(words) == 0 {
		return named{}, compozy.Fail("empty", "the text has no words")
	}
	return named{strings.Join(words, "-"), len(words)}, nil
}

type candidate struct {
	Slug  string   `json:"slug"`
	Taken []string `json:"taken"`
}

type free struct {
	Slug string `json:"slug"`
}

func unique(input candidate) (free, error) {
	slug := input.Slug
	for number := 2; slices.Contains(input.Taken, slug); number++ {
		slug = input.Slug + "-" + strconv.Itoa(number)
	}
	return free{slug}, nil
}

func init() {
	compozy.Export(compozy.Tool{
		Summary: "Makes slugs",
		Functions: []compozy.Function{
			compozy.Func("slugify", "The slug of a text, and how many words it has", slugify, compozy.ReadOnly, compozy.Idempotent),
			compozy.Func("unique", "The slug, with a number behind it if it is taken", unique, compozy.ReadOnly, compozy.Idempotent),
		},
	})
}

// The linker asks for it; it is never called.
func main() {}
