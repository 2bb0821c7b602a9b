package outbox

const childEnv = "HERON_OUTBOX_TEST_CHILD"

var childMain func(string) int
