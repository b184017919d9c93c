package compozy

import (
	"encoding/json"
	"reflect"
	"strings"
	"time"
)

func schemaText(of reflect.Type) string {
	schema := schema(of, 0)
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
func schema(of reflect.Type, depth int) map[string]any {
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
		return schema(of.Elem(), depth+1)
	case reflect.Slice, reflect.Array:
		if of.Elem().Kind() == reflect.Uint8 {
			return plain("string") // encoding/json writes bytes as base64
		}
		return map[string]any{"type": "array", "items": schema(of.Elem(), depth+1)}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schema(of.Elem(), depth+1)}
	case reflect.Struct:
		if of == reflect.TypeFor[time.Time]() {
			return plain("string")
		}
		properties, required := map[string]any{}, []string{}
		fields(of, depth, properties, &required)
		made := map[string]any{"type": "object", "properties": properties}
		if len(required) > 0 {
			made["required"] = required
		}
		return made
	}
	return map[string]any{}
}

func fields(of reflect.Type, depth int, properties map[string]any, required *[]string) {
	for _, field := range reflect.VisibleFields(of) {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if !field.IsExported() || field.Anonymous || name == "-" {
			continue
		}
		if name == "" {
			name = field.Name
		}
		property := schema(field.Type, depth+1)
		if doc := field.Tag.Get("doc"); doc != "" {
			property["description"] = doc
		}
		properties[name] = property
		if !strings.Contains(options, "omitempty") && field.Type.Kind() != reflect.Pointer {
			*required = append(*required, name)
		}
	}
}
