//! Nothing: the server is [C++](server.cpp), and Cargo only fetches what it is compiled with.
