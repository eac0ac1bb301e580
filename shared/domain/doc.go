// Package domain holds the values that every part of the bot speaks of (runs,
// findings, incidents, plans, repairs), their state machines and their error
// kinds. Everything in it is a value or a pure function: no I/O, no clock, no
// logging, and no import but the standard library.
package domain
