package jsonshape

import "testing"

func TestOf(t *testing.T) {
	for text, want := range map[string][2]int{
		``: {0, 0}, `1`: {0, 0}, `{}`: {1, 0}, `[[],[[1,2]]]`: {3, 2}, `{"a":"[[[,","b":[1]}`: {2, 1}, `"\"[["`: {0, 0}, `]][`: {0, 0}, `"\`: {0, 0},
	} {
		if depth, commas := Of([]byte(text)); depth != want[0] || commas != want[1] {
			t.Errorf("%s: %d deep, %d commas, not %v", text, depth, commas, want)
		}
	}
}
