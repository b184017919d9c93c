// A tool plugin: typed functions, and one list of them.
package main

import (
	"strings"

	"@name@/compozy"
)

type person struct {
	Name string `json:"name"`
}

type greeting struct {
	Greeting string `json:"greeting"`
}

func greet(input person) (greeting, error) {
	name := strings.TrimSpace(input.Name)
	if name == "" {
		return greeting{}, compozy.Fail("no_name", "name must not be empty")
	}
	return greeting{"Hello, " + name + "!"}, nil
}

type numbers struct {
	Numbers []float64 `json:"numbers"`
}

type figures struct {
	Count   int     `json:"count"`
	Average float64 `json:"average"`
}

func average(input numbers) (figures, error) {
	count := len(input.Numbers)
	if count == 0 {
		return figures{}, compozy.Fail("no_numbers", "numbers must hold at least one number")
	}
	sum := 0.0
	for _, number := range input.Numbers {
		sum += number
	}
	return figures{count, sum / float64(count)}, nil
}

func init() {
	compozy.Export(compozy.Tool{
		Summary: "Greets people and averages numbers",
		Functions: []compozy.Function{
			compozy.Func("greet", "Greets someone by name", greet, compozy.ReadOnly, compozy.Idempotent),
			compozy.Func("average", "The average of some numbers", average, compozy.ReadOnly, compozy.Idempotent),
		},
	})
}

// The linker asks for it; it is never called.
func main() {}
