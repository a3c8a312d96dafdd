//! Time for Colibri: the calendar, the zones, and the timetable that says what is due. The
//! program around it is colibri-schedd(8).

pub mod calendar;
pub mod timetable;
pub mod zones;
