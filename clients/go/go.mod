module sidelock.dev/go

go 1.22
