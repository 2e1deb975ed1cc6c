from quantcheck.cli import main

main()
