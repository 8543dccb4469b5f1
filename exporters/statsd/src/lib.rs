//! StatsD lines in the DogStatsD, etsy, Graphite and Influx dialects.
