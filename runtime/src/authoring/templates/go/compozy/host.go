package compozy

import (
	"encoding/json"
	"time"
	"unsafe"
)

//go:wasmimport compozy:host/log@0.1.0 log
func hostLog(level uint32, message unsafe.Pointer, length uint32, fields unsafe.Pointer, count uint32)

//go:wasmimport compozy:host/config@0.1.0 get
func hostConfig(answer unsafe.Pointer)

//go:wasmimport compozy:host/config@0.1.0 env
func hostEnv(name unsafe.Pointer, length uint32, answer unsafe.Pointer)

//go:wasmimport compozy:host/secrets@0.1.0 get
func hostSecret(name unsafe.Pointer, length uint32, answer unsafe.Pointer)

//go:wasmimport compozy:host/run@0.1.0 current
func hostRun(answer unsafe.Pointer)

//go:wasmimport compozy:host/kv@0.1.0 get
func hostKvGet(key unsafe.Pointer, length uint32, answer unsafe.Pointer)

//go:wasmimport compozy:host/kv@0.1.0 set
func hostKvSet(key unsafe.Pointer, length uint32, value unsafe.Pointer, size, hasTTL uint32, ttl uint64, answer unsafe.Pointer)

//go:wasmimport compozy:host/kv@0.1.0 delete
func hostKvDelete(key unsafe.Pointer, length uint32, answer unsafe.Pointer)

// Level is the severity of a log record.
type Level uint32

// Severities, lowest first.
const (
	Trace Level = iota
	Debug
	Info
	Warn
	Severe
)

// Log writes a record.
func Log(level Level, message string) {
	text := pin(message)
	hostLog(uint32(level), text.pointer(), text.length, nil, 0)
}

// Config reads the `config:` of the project's entry into a value, as encoding/json does.
func Config(into any) error {
	var answer text
	hostConfig(unsafe.Pointer(&answer))
	return json.Unmarshal(answer.bytes(), into)
}

// Env is the value of an environment variable, and whether it is set; needs `permissions.env`.
func Env(name string) (string, bool, error) {
	var answer maybeTextResult
	key := pin(name)
	hostEnv(key.pointer(), key.length, unsafe.Pointer(&answer))
	value, found, err := answer.get()
	return string(value), found, err
}

// Secret is the placeholder of a secret, which the host replaces in requests; needs `permissions.secrets`.
func Secret(name string) (string, error) {
	var answer textResult
	key := pin(name)
	hostSecret(key.pointer(), key.length, unsafe.Pointer(&answer))
	if answer.failed {
		return "", answer.failure()
	}
	return string(answer.ok().bytes()), nil
}

// IdempotencyKey is equal on every attempt of a step, to be handed to peers; empty outside a run.
func IdempotencyKey() string {
	var answer maybeContext
	hostRun(unsafe.Pointer(&answer))
	if !answer.some {
		return ""
	}
	return string(answer.idempotencyKey.bytes())
}

// KvGet is the value of a key of the plugin's own durable space, and whether there is one; needs `permissions.kv`.
func KvGet(key string) ([]byte, bool, error) {
	var answer maybeTextResult
	name := pin(key)
	hostKvGet(name.pointer(), name.length, unsafe.Pointer(&answer))
	return answer.get()
}

// KvSet stores a value; it expires after ttl unless that is 0.
func KvSet(key string, value []byte, ttl time.Duration) error {
	var answer flagResult
	name, content := pin(key), pin(string(value))
	milliseconds, limited := uint64(ttl.Milliseconds()), uint32(0)
	if ttl > 0 {
		limited = 1
	}
	hostKvSet(name.pointer(), name.length, content.pointer(), content.length, limited, milliseconds, unsafe.Pointer(&answer))
	if answer.failed {
		return answer.failure()
	}
	return nil
}

// KvDelete removes a key, and says whether it was there.
func KvDelete(key string) (bool, error) {
	var answer flagResult
	name := pin(key)
	hostKvDelete(name.pointer(), name.length, unsafe.Pointer(&answer))
	if answer.failed {
		return false, answer.failure()
	}
	return answer.ok(), nil
}
