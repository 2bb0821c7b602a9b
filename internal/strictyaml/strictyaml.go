// Package strictyaml reads YAML that may hold only keys the reader knows.
package strictyaml

import (
	"errors"
	"reflect"
	"slices"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Unmarshal decodes src into v, a pointer. Of several unknown keys the error, a *yaml.UnknownFieldError, is the one of the first in
// src: the library walks a Go map and tells of any, which makes the same file fail with another message each time.
func Unmarshal(src []byte, v any) error {
	err := yaml.UnmarshalWithOptions(src, v, yaml.Strict())
	var first *yaml.UnknownFieldError
	if !errors.As(err, &first) {
		return err
	}
	file, perr := parser.ParseBytes(src, 0)
	if perr != nil || len(file.Docs) == 0 {
		return err
	}
	body := file.Docs[0].Body
	for next := first; ; { // each round takes one unknown key away, to see what else there is
		if pos := next.Token.Position; pos.Offset < first.Token.Position.Offset {
			first = next
		}
		cut := cutter(next.Token.Position.Offset)
		ast.Walk(&cut, body)
		again := reflect.New(reflect.TypeOf(v).Elem()).Interface()
		next = nil
		if cut >= 0 || !errors.As(yaml.NodeToValue(body, again, yaml.Strict()), &next) {
			return first
		}
	}
}

// cutter removes the entry whose key starts at that offset, and is then -1.
type cutter int

func (c *cutter) Visit(n ast.Node) ast.Visitor {
	if m, ok := n.(*ast.MappingNode); ok {
		m.Values = slices.DeleteFunc(m.Values, func(e *ast.MappingValueNode) bool {
			if !starts(e.Key.GetToken(), int(*c)) {
				return false
			}
			*c = -1
			return true
		})
	}
	return c
}

func starts(t *token.Token, offset int) bool { return t != nil && t.Position.Offset == offset }
