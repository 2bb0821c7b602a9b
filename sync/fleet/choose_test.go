package fleet

import "heron/sync/desired"

// selects is how a device decides; notChosen what it then reports.
func selects(id, salt string, percent float64) bool { return desired.Selected(percent, salt, id) }

const notChosen = desired.NotSelected
