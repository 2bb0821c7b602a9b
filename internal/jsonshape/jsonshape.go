// Package jsonshape measures a JSON text before a decoder builds what it describes: the standard decoder recurses as deep as brackets nest,
// and a few kilobytes of commas can cost a hundred times their size.
package jsonshape

// Of is how deep brackets are nested, and how many commas there are, both outside strings. The text need not be valid.
func Of(text []byte) (depth, commas int) {
	now, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			now++
			depth = max(depth, now)
		case c == '}' || c == ']':
			now--
		case c == ',':
			commas++
		}
	}
	return depth, commas
}
