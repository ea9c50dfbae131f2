// The last minor release that is open source (MPL 2.0) and whose module builds outside of its own repository.
module sidelock.peers/consul

go 1.26

tool github.com/hashicorp/consul

require github.com/hashicorp/consul v1.14.11

replace launchpad.net/gocheck => github.com/go-check/check v0.0.0-20140225173054-eb6ee6f84d0a
