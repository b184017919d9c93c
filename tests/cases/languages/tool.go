// Everything that is lent, and errors.
package main

import (
	"errors"
	"time"

	"try-it/compozy"
)

type output struct {
	Stored  string         `json:"stored"`
	Absent  *string        `json:"absent"`
	Config  map[string]any `json:"config"`
	Key     string         `json:"key"`
	Region  string         `json:"region"`
	Hidden  bool           `json:"hidden"`
	Removed []bool         `json:"removed"`
	Input   map[string]any `json:"input"`
}

func lent(input map[string]any) (output, error) {
	compozy.Log(compozy.Info, "lent")
	// More than the memory it begins with, and a sleep: both are the runtime's own business with the host.
	kept := make([][]byte, 0, 24)
	for range 24 {
		kept = append(kept, make([]byte, 1<<20))
	}
	time.Sleep(time.Duration(len(kept)) * time.Millisecond)
	text, _ := input["text"].(string)
	set := compozy.KvSet("k", []byte(text), time.Minute)
	stored, _, got := compozy.KvGet("k")
	_, found, _ := compozy.KvGet("none")
	made := output{Stored: string(stored), Key: compozy.IdempotencyKey(), Input: input}
	if found {
		made.Absent = new(string)
	}
	read := compozy.Config(&made.Config)
	region, _, asked := compozy.Env("REGION")
	made.Region = region
	secret, hid := compozy.Secret("TOKEN")
	made.Hidden = secret != "s3cr3t"
	first, one := compozy.KvDelete("k")
	second, two := compozy.KvDelete("k")
	made.Removed = []bool{first, second}
	return made, errors.Join(set, got, read, asked, hid, one, two)
}

func fail(input struct{ How string }) (string, error) {
	if input.How == "bug" {
		var nothing *output
		return nothing.Key, nil
	}
	if input.How == "later" {
		return "", &compozy.Error{Code: "later", Message: "not yet", RetryAfter: 1500 * time.Millisecond}
	}
	err := compozy.KvSet("", nil, 0)
	var told *compozy.Error
	if input.How == "noticed" && errors.As(err, &told) {
		return told.Code, nil
	}
	return "", err
}

func init() {
	compozy.Export(compozy.Tool{Functions: []compozy.Function{compozy.Func("lent", "", lent), compozy.Func("fail", "", fail)}})
}

// The linker asks for it; it is never called.
func main() {}
