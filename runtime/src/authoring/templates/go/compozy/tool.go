// Package compozy connects a plugin with its host. Part of the generated project; do not edit.
package compozy

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"reflect"
	"runtime"
	"strings"
	"time"
)

// Tool is what the plugin offers.
type Tool struct {
	// Summary is a sentence for lists.
	Summary string
	// Version is the plugin's own; "0.1.0" when empty.
	Version string
	// Functions are at least one.
	Functions []Function
}

// Function is one that workflows and agents can call; made by Func.
type Function struct {
	name, description string
	input, output     string
	readOnly          bool
	destructive       bool
	idempotent        bool
	run               func(input []byte) ([]byte, error)
}

// Mark tells what a function does to the world.
type Mark func(*Function)

// ReadOnly functions change nothing anywhere.
func ReadOnly(function *Function) { function.readOnly = true }

// Destructive functions may remove or overwrite something.
func Destructive(function *Function) { function.destructive = true }

// Idempotent functions have the same effect whether they are called once or twice with the same idempotency key.
func Idempotent(function *Function) { function.idempotent = true }

// Func makes a function of the tool; its schemas come from the types.
func Func[I, O any](name, description string, run func(I) (O, error), marks ...Mark) Function {
	function := Function{
		name:        name,
		description: description,
		input:       schemaText(reflect.TypeFor[I](), false),
		output:      schemaText(reflect.TypeFor[O](), true),
		run: func(text []byte) ([]byte, error) {
			var input I
			if err := json.Unmarshal(text, &input); err != nil {
				return nil, Fail("invalid_input", err.Error())
			}
			output, err := run(input)
			if err != nil {
				return nil, err
			}
			return json.Marshal(output)
		},
	}
	for _, mark := range marks {
		mark(&function)
	}
	return function
}

var exported Tool

// Export says what the plugin offers. Call it once, from init.
func Export(tool Tool) { exported = tool }

// Error is a failure with a code, a short stable word.
type Error struct {
	Code    string
	Message string
	// Retryable lets the step be tried again.
	Retryable bool
	// RetryAfter is how long to wait before; 0 where unknown.
	RetryAfter time.Duration
}

func (err *Error) Error() string { return err.Message }

// Fail makes an error: compozy.Fail("no_name", "name must not be empty").
func Fail(code, message string) error { return &Error{Code: code, Message: message} }

// call runs a function by name; a panic of it is an error too.
func call(name string, input []byte) (output []byte, err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			err = Fail("panic", fmt.Sprint(panicked)+place())
		}
	}()
	for _, function := range exported.Functions {
		if function.name == name {
			return function.run(input)
		}
	}
	return nil, Fail("unknown_function", "the plugin has no function '"+name+"'")
}

// place tells which line of the plugin's own code panicked.
func place() string {
	callers := make([]uintptr, 64)
	frames := runtime.CallersFrames(callers[:runtime.Callers(3, callers)])
	for {
		frame, more := frames.Next()
		if strings.HasPrefix(frame.Function, "main.") {
			return fmt.Sprintf(" (at %s:%d)", path.Base(frame.File), frame.Line)
		}
		if !more {
			return ""
		}
	}
}

func toError(err error) *Error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	return &Error{Code: "failed", Message: err.Error()}
}
