package status

import "strings"

// boardText is the board in one line: its hottest zone, and what it suffers from.
func boardText(b Board) string {
	var out []string
	if len(b.Zones) > 0 {
		out = append(out, fixed(0, b.Zones[0].C)+" °C "+b.Zones[0].Zone)
	}
	say := func(fact *bool, yes, no string) {
		switch {
		case fact == nil:
		case *fact:
			out = append(out, yes)
		case no != "":
			out = append(out, no)
		}
	}
	say(b.Throttled, "throttled", "not throttled")
	say(b.UnderVoltage, "under-voltage", "")
	switch {
	case b.Problem != "":
		return b.Problem
	case len(out) == 0:
		return "tells nothing"
	}
	return strings.Join(out, " · ")
}

// inTrouble says whether the board's line is a warning.
func inTrouble(b Board) bool {
	return b.Problem != "" || b.Throttled != nil && *b.Throttled || b.UnderVoltage != nil && *b.UnderVoltage ||
		b.Hottest != nil && b.HotFrom > 0 && *b.Hottest >= b.HotFrom
}

// fpsText has one decimal where it says something.
func fpsText(fps float64) string { return strings.TrimSuffix(fixed(1, fps), ".0") }
