// Package ignition puts files and one enabled unit into an Ignition config of spec 2.0.0 to 2.4.0 or 3.0.0 to 3.6.0, at the
// version that it has: Flatcar converts 2.x itself, and older nodes know no newer one.
//
// Our part is written once, as Butane, and translated by Butane's library to spec 3.0.0, whose entries are valid in every
// later 3.x; for 2.x they get a filesystem. It is spliced into the text at the head of storage.files and systemd.units, so
// that every foreign byte, field and number stays, also what the official types do not know and would drop. Entries stand
// first because Cluster API's Docker provider enables units in their order and waits for each.
//
// The result is read again, as JSON and by the official types and rules of its version: both must find the same foreign part as
// before, and ours exactly once (I4). Where that cannot be shown the config is refused, and the caller passes it through. No
// error quotes the config, which holds credentials (I7).
//
// A config that another one replaces is void, so the part goes into what ignition.config.replace holds, which must be a data
// URL; it is encoded again as it was. What ignition.config.merge (append in 2.x) holds as data URLs wins over the
// outer config, so it is searched for entries at our paths: ours are taken out there, foreign ones are refused. Remote configs
// cannot be searched.
package ignition
