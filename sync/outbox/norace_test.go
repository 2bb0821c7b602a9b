//go:build !race

package outbox

// slower is by how much shorter the campaigns are.
const slower = 1
