package compozy

import (
	"encoding/json"
	"reflect"
	"strings"
	"time"
)

// schemaText is the JSON Schema of what is read as a type, or written: a nil slice or map is written as null.
func schemaText(of reflect.Type, written bool) string {
	schema := schema(of, written, 0)
	if len(schema) == 0 {
		return ""
	}
	text, err := json.Marshal(schema)
	if err != nil {
		panic(err) // maps and strings only
	}
	return string(text)
}

// schema is the JSON Schema of a type; empty for those that say nothing.
func schema(of reflect.Type, written bool, depth int) map[string]any {
	plain := func(name string) map[string]any { return map[string]any{"type": name} }
	if depth > 16 {
		return map[string]any{}
	}
	switch of.Kind() {
	case reflect.Bool:
		return plain("boolean")
	case reflect.String:
		return plain("string")
	case reflect.Float32, reflect.Float64:
		return plain("number")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return plain("integer")
	case reflect.Pointer:
		return nullable(schema(of.Elem(), written, depth+1))
	case reflect.Slice, reflect.Array:
		if of.Elem().Kind() == reflect.Uint8 {
			return plain("string") // encoding/json writes bytes as base64
		}
		return nilable(map[string]any{"type": "array", "items": schema(of.Elem(), written, depth+1)}, written && of.Kind() == reflect.Slice)
	case reflect.Map:
		return nilable(map[string]any{"type": "object", "additionalProperties": schema(of.Elem(), written, depth+1)}, written)
	case reflect.Struct:
		if of == reflect.TypeFor[time.Time]() {
			return plain("string")
		}
		properties, required := map[string]any{}, []string{}
		fields(of, written, depth, properties, &required)
		made := map[string]any{"type": "object", "properties": properties}
		if len(required) > 0 {
			made["required"] = required
		}
		return made
	}
	return map[string]any{}
}

func nilable(of map[string]any, isWritten bool) map[string]any {
	if isWritten {
		return nullable(of)
	}
	return of
}

// nullable is the schema of a value that may be null.
func nullable(of map[string]any) map[string]any {
	if name, plain := of["type"].(string); plain {
		of["type"] = []string{name, "null"}
	}
	return of
}

func fields(of reflect.Type, written bool, depth int, properties map[string]any, required *[]string) {
	for _, field := range reflect.VisibleFields(of) {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if !field.IsExported() || field.Anonymous || name == "-" {
			continue
		}
		if name == "" {
			name = field.Name
		}
		property := schema(field.Type, written, depth+1)
		if doc := field.Tag.Get("doc"); doc != "" {
			property["description"] = doc
		}
		properties[name] = property
		if !strings.Contains(options, "omitempty") && field.Type.Kind() != reflect.Pointer {
			*required = append(*required, name)
		}
	}
}
