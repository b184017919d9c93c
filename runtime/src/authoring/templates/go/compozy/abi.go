package compozy

import (
	"structs"
	"time"
	"unsafe"
)

// Values as the component model's canonical ABI lays them out (github.com/WebAssembly/component-model, CanonicalABI.md).
// Addresses are 32 bits there and 64 in Go's structs, so they are kept as numbers.

type text struct {
	_      structs.HostLayout
	at     uint32
	length uint32
}

// wireError is compozy:plugin/types.error and compozy:host/types.error.
type wireError struct {
	_             structs.HostLayout
	code, message text
	retryable     bool
	_             [7]byte
	hasRetryAfter bool
	_             [7]byte
	retryAfterMs  uint64
}

// A result: whether it failed, and either of two payloads in the same bytes.
type textResult struct {
	_       structs.HostLayout
	failed  bool
	_       [7]byte
	payload [5]uint64
}

type maybeTextResult textResult

type flagResult textResult

type maybeContext struct {
	_                            structs.HostLayout
	some                         bool
	_                            [7]byte
	execID, workflowID, stepPath text
	attempt                      uint32
	idempotencyKey               text
	_                            uint32
	deadline                     [2]uint64
}

type description struct {
	_                structs.HostLayout
	summary, version text
	stateless        bool
	_                [3]byte
	functions, count uint32
}

type maybeText struct {
	_     structs.HostLayout
	some  uint32
	value text
}

type function struct {
	_                                 structs.HostLayout
	name, description                 text
	input, output                     maybeText
	readOnly, destructive, idempotent bool
	_                                 byte
}

// What the host holds addresses of. A call ends with its instance, so nothing is ever let go.
var (
	pinned  [][]byte
	written [][]uint64
	answer  textResult
	told    description
	offered []function
)

func address(pointer unsafe.Pointer) uint32 { return uint32(uintptr(pointer)) }

// pin copies a text to where it stays.
func pin(value string) text {
	bytes := append(make([]byte, 0, len(value)+1), value...)
	pinned = append(pinned, bytes)
	return text{at: address(unsafe.Pointer(unsafe.SliceData(bytes))), length: uint32(len(value))}
}

func (text text) pointer() unsafe.Pointer {
	return *(*unsafe.Pointer)(unsafe.Pointer(&[1]uintptr{uintptr(text.at)}))
}

// bytes is a copy of what the host wrote.
func (text text) bytes() []byte {
	if text.length == 0 {
		return nil
	}
	return append([]byte(nil), unsafe.Slice((*byte)(text.pointer()), text.length)...)
}

func (result *textResult) ok() text { return *(*text)(unsafe.Pointer(&result.payload)) }

func (result *flagResult) ok() bool { return *(*bool)(unsafe.Pointer(&result.payload)) }

func (result *maybeTextResult) get() ([]byte, bool, error) {
	if result.failed {
		return nil, false, (*textResult)(result).failure()
	}
	value := (*maybeText)(unsafe.Pointer(&result.payload))
	return value.value.bytes(), value.some&1 == 1, nil
}

func (result *flagResult) failure() error { return (*textResult)(result).failure() }

func (result *textResult) failure() error {
	told := (*wireError)(unsafe.Pointer(&result.payload))
	err := &Error{Code: string(told.code.bytes()), Message: string(told.message.bytes()), Retryable: told.retryable}
	if told.hasRetryAfter {
		err.RetryAfter = time.Duration(told.retryAfterMs) * time.Millisecond
	}
	return err
}

func maybe(value string) maybeText {
	if value == "" {
		return maybeText{}
	}
	return maybeText{some: 1, value: pin(value)}
}

//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	block := make([]uint64, size/8+1)
	if oldSize > 0 {
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&block[0])), size), unsafe.Slice((*byte)(old), oldSize))
	}
	written = append(written, block)
	return unsafe.Pointer(&block[0])
}

//go:wasmexport compozy:plugin/tool@0.1.0#describe
func describe() unsafe.Pointer {
	for _, from := range exported.Functions {
		offered = append(offered, function{
			name: pin(from.name), description: pin(from.description),
			input: maybe(from.input), output: maybe(from.output),
			readOnly: from.readOnly, destructive: from.destructive, idempotent: from.idempotent,
		})
	}
	version := exported.Version
	if version == "" {
		version = "0.1.0"
	}
	told = description{summary: pin(exported.Summary), version: pin(version)}
	told.functions, told.count = address(unsafe.Pointer(unsafe.SliceData(offered))), uint32(len(offered))
	return unsafe.Pointer(&told)
}

//go:wasmexport compozy:plugin/tool@0.1.0#run
func run(name unsafe.Pointer, nameLength uint32, input unsafe.Pointer, inputLength uint32) unsafe.Pointer {
	function := string(unsafe.Slice((*byte)(name), nameLength))
	output, err := call(function, append([]byte(nil), unsafe.Slice((*byte)(input), inputLength)...))
	answer = textResult{failed: err != nil}
	if err != nil {
		own := toError(err)
		*(*wireError)(unsafe.Pointer(&answer.payload)) = wireError{
			code: pin(own.Code), message: pin(own.Message),
			retryable:     own.Retryable || own.RetryAfter > 0,
			hasRetryAfter: own.RetryAfter > 0, retryAfterMs: uint64(own.RetryAfter.Milliseconds()),
		}
	} else {
		*(*text)(unsafe.Pointer(&answer.payload)) = pin(string(output))
	}
	return unsafe.Pointer(&answer)
}
