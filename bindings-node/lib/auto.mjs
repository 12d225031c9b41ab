// One copy of the package per process, whichever way it is loaded.
import './auto.js'
