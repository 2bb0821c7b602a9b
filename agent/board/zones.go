package board

import (
	"path/filepath"
	"slices"
	"strings"
)

// Temperatures outside are those of a sensor that is off or damaged, °C.
const (
	coldest = -60
	hottest = 150
)

// zones are all temperatures that the kernel shows.
func (r *Reader) zones() (out []Zone) {
	for _, dir := range r.glob("class/thermal/thermal_zone*") {
		name, err := text(filepath.Join(dir, "type"))
		if err != nil || constant(name) {
			continue
		}
		out = addZone(out, name, filepath.Join(dir, "temp"))
	}
	for _, path := range r.glob("class/apex/apex_*/temp") { // of the Coral's own driver
		out = addZone(out, "edgetpu", path)
	}
	if len(out) > 0 {
		return out
	}
	for _, dir := range r.glob("class/hwmon/hwmon*") { // some PCs have no zones
		if name, err := text(filepath.Join(dir, "name")); err == nil && slices.Contains(cpuSensors, name) {
			out = addZone(out, name, filepath.Join(dir, "temp1_input"))
		}
	}
	return out
}

var cpuSensors = []string{"coretemp", "k10temp", "zenpower", "cpu_thermal"}

// constant tells zones that show no temperature: the PMIC-Die of a Jetson is 100 °C for ever.
func constant(name string) bool { return strings.EqualFold(name, "PMIC-Die") }

// addZone appends the temperature in path, thousandths of a degree, unless it is absent or impossible.
// Zones of one name are told apart by a number.
func addZone(list []Zone, name, path string) []Zone {
	s, err := text(path)
	if err != nil {
		return list
	}
	c, ok := parseMilli(s)
	if !ok {
		return list
	}
	name = plain(name)
	n := 1
	for _, z := range list {
		if z.Name == name || strings.HasPrefix(z.Name, name+"#") {
			n++
		}
	}
	if n > 1 {
		name += "#" + string(rune('0'+min(n, 9)))
	}
	if n > 9 || len(list) >= maxZones {
		return list
	}
	return append(list, Zone{name, c})
}

// maxZones bounds what a page and the metrics show.
const maxZones = 64

// parseMilli reads thousandths of a degree.
func parseMilli(s string) (float64, bool) {
	v, ok := parseNumber(s)
	c := v / 1000
	return c, ok && c > coldest && c < hottest
}

// plain makes a sensor's name fit for a page and a metric's label.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, s)
	return s[:min(len(s), 64)]
}

// cpuZone is the hottest zone that is the CPU's by its name.
func cpuZone(zones []Zone) *Zone {
	for _, z := range zones {
		name := strings.ToLower(z.Name)
		if strings.Contains(name, "cpu") || strings.HasPrefix(name, "x86_pkg_temp") || slices.Contains(cpuSensors, name) || strings.Contains(name, "soc-thermal") {
			return &z
		}
	}
	return nil
}
