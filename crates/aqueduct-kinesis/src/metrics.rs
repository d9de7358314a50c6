// What is counted.
