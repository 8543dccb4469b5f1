//! Metrics of ModelMuxer, from recorded pages, against what the table says they become. Expected values are written by
//! hand from the table and the numbers on the pages.

mod kit;
mod pages;
mod repairs;
mod rows;
mod rows_http;
mod table;
