package onnx

import (
	"regexp"
	"strings"

	"heron/inference"
)

// sourcePlace is how ONNX Runtime begins many messages: file:line and a C++ signature.
var sourcePlace = regexp.MustCompile(`\S*/onnxruntime_src/\S+:\d+ `)

// plain makes one short line for people of a message of ONNX Runtime's or its wrapper's.
func plain(text string) string {
	text = strings.TrimPrefix(strings.Join(strings.Fields(text), " "), "Error creating C session: ")
	if at := sourcePlace.FindStringIndex(text); at != nil {
		text = text[:at[0]] + afterSignature(text[at[1]:])
	}
	return inference.OneLine(text)
}

// afterSignature cuts "void f(int, const g<h(i)>&) " off.
func afterSignature(text string) string {
	depth := 0
	for i, r := range text {
		switch r {
		case '(':
			depth++
		case ')':
			depth--
			if depth == 0 {
				return strings.TrimPrefix(text[i+1:], " ")
			}
		}
	}
	return text
}
