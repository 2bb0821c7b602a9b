package agent

import (
	"reflect"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// misreadDuration finds the first duration of src that cannot be read: the decoder knows neither its key nor its line.
func misreadDuration(src []byte, t reflect.Type) error {
	file, err := parser.ParseBytes(src, 0)
	if err != nil || len(file.Docs) == 0 {
		return nil
	}
	return durationsOf(file.Docs[0].Body, t)
}

func durationsOf(n ast.Node, t reflect.Type) error {
	switch {
	case n == nil:
	case t == reflect.TypeFor[time.Duration]():
		if text := scalar(n); n.Type() == ast.IntegerType || n.Type() == ast.StringType {
			if _, err := time.ParseDuration(text); err != nil || n.Type() == ast.IntegerType {
				return misread(n, "%q, expected a time with its unit, such as 500ms, 5s, 10m or 0s", text)
			}
		}
	case t.Kind() == reflect.Pointer:
		return durationsOf(n, t.Elem())
	case t.Kind() == reflect.Slice:
		return durationsOfList(n, t)
	case t.Kind() == reflect.Struct, t.Kind() == reflect.Map:
		return durationsOfKeys(n, t)
	}
	return nil
}

func durationsOfList(n ast.Node, t reflect.Type) error {
	list, _ := n.(*ast.SequenceNode)
	if list == nil {
		return nil
	}
	for _, v := range list.Values {
		if err := durationsOf(v, t.Elem()); err != nil {
			return err
		}
	}
	return nil
}

func durationsOfKeys(n ast.Node, t reflect.Type) error {
	m, _ := n.(ast.MapNode)
	if m == nil {
		return nil
	}
	for it := m.MapRange(); it.Next(); {
		of := t
		if t.Kind() == reflect.Map {
			of = t.Elem()
		} else if of = fieldOf(t, scalar(it.Key())); of == nil {
			continue
		}
		if err := durationsOf(it.Value(), of); err != nil {
			return err
		}
	}
	return nil
}

// fieldOf is the type of a key, nil where there is no such key.
func fieldOf(t reflect.Type, key string) reflect.Type {
	for i := range t.NumField() {
		name, rest, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if name == key {
			return t.Field(i).Type
		}
		if strings.Contains(rest, "inline") {
			if of := fieldOf(t.Field(i).Type, key); of != nil {
				return of
			}
		}
	}
	return nil
}
