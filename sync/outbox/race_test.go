//go:build race

package outbox

// slower is by how much shorter the campaigns are: with the race detector a state takes thirty times as long to open.
const slower = 4
