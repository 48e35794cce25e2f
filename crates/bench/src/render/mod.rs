//! Reports for people: tables for terminals, Markdown and CSV, and a page with charts.

pub mod chart;
pub mod html;
pub mod table;
